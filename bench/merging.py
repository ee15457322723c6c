"""Merging boxes, against weighted boxes fusion: `python -m bench.merging [FOLDER] [--rounds N]`.

ensemble-boxes is given lists, which it reads faster than arrays, our arithmetic columns, and our whole merge
the replies. What is compared takes turns, so that whatever disturbs the machine disturbs all of it alike.
FOLDER has real detections.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from ensemble_boxes import weighted_boxes_fusion
from rich.console import Console
from rich.table import Table

from bench.made_scenes import crowd, scene
from tests.detectors import AVERAGE
from windmill.core import fusing, merging
from windmill.core.fusing import Flags, Sightings, Weights
from windmill.core.overlaps import Floats
from windmill.evaluating.boxes.folder import Source
from windmill.evaluating.boxes.rule import shown
from windmill.model import Box, StoredReply

FOLDER = Path("../shared/data/coco-boxes")
IMAGES = 200  # of the folder
SIZES = (30, 100, 300)  # boxes of each of three detectors
GROWTH = tuple(100 * 2**n for n in range(8))  # boxes of three detectors together
CROWDS = tuple(875 * 2**n for n in range(4))  # boxes of seven, all around one object
SHORTEST = 0.005  # seconds for which a part goes on in its turn
IOU = 0.55  # of weighted boxes fusion, its own default

Work = Callable[[], object]
Lists = tuple[list[list[list[float]]], list[list[float]], list[list[int]]]


def lists(replies: Sequence[StoredReply]) -> Lists:
    """What ensemble-boxes asks for: by detector the corners from 0 to 1, scores, and classes as numbers."""
    numbers: dict[str, int] = {}
    corners, scores, groups = [], [], []
    size = max(max(box.x + box.width, box.y + box.height) for one in replies for box in _boxes(one))
    for one in replies:
        boxes = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in _boxes(one)]
        corners.append((np.array(boxes).reshape(-1, 4) / size).clip(0, 1).tolist())
        scores.append([seen.confidence for seen in one.reply.detections])
        groups.append([numbers.setdefault(seen.class_name, len(numbers)) for seen in one.reply.detections])
    return corners, scores, groups


def _boxes(reply: StoredReply) -> list[Box]:
    return [seen.box for seen in reply.reply.detections if seen.box is not None]


def columns(given: Lists) -> tuple[Sightings, Weights, Flags]:
    """The same numbers for our arithmetic, and detectors of which nothing is known but that they know all."""
    corners, scores, groups = ([number for one in column for number in one] for column in given)
    detectors = range(len(given[0]))
    seen = Sightings(
        corners=np.array(corners).reshape(-1, 4),
        logit=fusing.logit(np.array(scores)),
        service=np.repeat(detectors, [len(one) for one in given[1]]),
        group=np.array(groups, np.int64),
    )
    weights = merging.weights(map(str, detectors), AVERAGE)
    return seen, weights, np.ones((len(detectors), seen.group.max() + 1), bool)


def arithmetic(seen: Sightings, weights: Weights, knows: Flags) -> tuple[Floats, Floats]:
    """All that is done with columns: corners and scores of the merged boxes."""
    chance = fusing.chances(seen, weights)
    placed = fusing.placed(seen, fusing.clusters(seen, chance), chance, weights)
    silence = fusing.silence(seen, placed.clusters, knows, weights)
    contested = np.ones(len(silence), bool)
    return placed.corners, fusing.score(placed, silence, contested, weights)


def rivals(images: Sequence[Sequence[StoredReply]]) -> Mapping[str, Work]:
    """What is compared, over all these images."""
    given = [lists(one) for one in images]
    ready = [columns(one) for one in given]
    return {
        "ensemble-boxes": lambda: [weighted_boxes_fusion(*one, iou_thr=IOU) for one in given],
        "arithmetic": lambda: [arithmetic(*one) for one in ready],
        "merge": lambda: [merging.merge(one, AVERAGE) for one in images],
    }


def timed(work: Work) -> float:
    """Seconds that it takes, once."""
    times, began = 0, perf_counter()
    while (elapsed := perf_counter() - began) < SHORTEST or not times:
        work()
        times += 1
    return elapsed / times


def compared(works: Mapping[str, Work], rounds: int) -> Mapping[str, list[float]]:
    """Seconds of each, round by round; the round before the first is not counted."""
    gc.freeze()  # what the benchmark itself holds is no part of anyone's work
    seen: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            seconds = timed(work)
            if number:
                seen[name].append(seconds)
    return seen


def versus(scenes: Mapping[str, Sequence[Sequence[StoredReply]]], rounds: int) -> Table:
    """Medians for one image; how many times as fast with the least and the most of all rounds."""
    table = Table("", "ensemble-boxes, ms", "arithmetic, ms", "times as fast", "merge, ms", "times as fast")
    for name, images in scenes.items():
        theirs, *ours = compared(rivals(images), rounds).values()
        cells = [_milliseconds(theirs, images)]
        for mine in ours:
            cells += [_milliseconds(mine, images), _ratios(theirs, mine)]
        table.add_row(name, *cells)
    return table


def _milliseconds(seconds: Sequence[float], images: Sequence[object]) -> str:
    return f"{1000 * statistics.median(seconds) / len(images):.3f}"


def _ratios(theirs: Sequence[float], mine: Sequence[float]) -> str:
    ratios = sorted(a / b for a, b in zip(theirs, mine, strict=True))
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}–{ratios[-1]:.1f})"


def growth(scenes: Mapping[int, Sequence[StoredReply]], rounds: int) -> Table:
    """How long a merge takes as boxes grow more, all sizes in turn."""
    works = {f"{boxes:,}": partial(merging.merge, replies, AVERAGE) for boxes, replies in scenes.items()}
    table = Table("boxes", "ms", "µs a box")
    for (name, seconds), boxes in zip(compared(works, rounds).items(), scenes, strict=True):
        median = statistics.median(seconds)
        table.add_row(name, f"{1e3 * median:,.2f}", f"{1e6 * median / boxes:.1f}")
    return table


def real(folder: Path) -> Sequence[Sequence[StoredReply]]:
    """What all detectors say of the folder's first images that any of them sees something on."""
    replies = shown(Source(folder, IMAGES)).replies.values()
    images = list(zip(*replies, strict=True))
    return [one for one in images if any(_boxes(reply) for reply in one)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.merging", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    console = Console(width=120)
    scenes = {f"3 × {each} boxes": [scene(3, each, seed) for seed in range(10)] for each in SIZES}
    if args.folder.is_dir():
        scenes[f"{args.folder.name}, all its detectors"] = real(args.folder)
    else:
        console.print(f"{args.folder} is not there: made scenes only")
    console.print(versus(scenes, args.rounds))
    few = max(1, args.rounds // 3)
    console.print(growth({boxes: scene(3, boxes // 3) for boxes in GROWTH}, few))
    console.print("seven detectors, all boxes of one class around one object")
    console.print(growth({boxes: crowd(7, boxes // 7) for boxes in CROWDS}, few))


if __name__ == "__main__":
    main()
