"""Harmonizing the detectors' boxes of one image into merged boxes: which stand, with what score, and why.

What is done with the boxes stands in `fusing`; here replies become columns, and clusters become merged boxes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from windmill.core import emoji, fusing
from windmill.core.fusing import Flags, Placed, Sightings, Weights
from windmill.core.overlaps import Floats, Ints
from windmill.model import (
    Box,
    BoxVote,
    Detection,
    Detectors,
    JudgedBox,
    MergedBox,
    MergeRule,
    ServiceReply,
    SourcedDetection,
    StoredReply,
)

RULE = "calibrated_noisy_or"
VERSION = 3

STANDS = 0.4  # probability that a box needs once several services looked (docs/merging.md says why)
_PLACE = 2  # decimals of a pixel
_SCORE = 6  # decimals of a score


def rule(detectors: Detectors) -> MergeRule:
    """The rule's name, its version, and which calibration it weighs by."""
    learned = json.dumps(asdict(detectors), sort_keys=True).encode()
    return MergeRule(name=RULE, version=VERSION, calibration=hashlib.sha256(learned).hexdigest()[:8])


def merge(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[MergedBox, ...]:
    """Merged boxes of all spatial replies of one image, strongest first; the order of replies is nothing.

    `score` is the probability that the box shows an object of its class: agreement raises it, and a lone weak
    detection falls once others, who know the class, did not see it. What only one service can have seen
    stands, however weak.
    """
    scene = _scene(replies, detectors)
    return tuple(box for box, _ in _boxes(scene, np.flatnonzero(_standing(scene))))


def candidates(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[MergedBox, ...]:
    """What stands and what falls below the threshold, strongest first."""
    scene = _scene(replies, detectors)
    return tuple(box for box, _ in _boxes(scene, np.arange(len(scene.score))))


def judged(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[JudgedBox, ...]:
    """The candidates, with what each service that can have seen them says."""
    scene = _scene(replies, detectors)
    return tuple(_judged(scene, box, number) for box, number in _boxes(scene, np.arange(len(scene.score))))


def by_strength(box: MergedBox) -> tuple[float, str]:
    """Sorts an image's boxes: the strongest first, and always in the same order."""
    return -box.score, box.key


def looked_for_boxes(reply: ServiceReply) -> bool:
    """False for a classifier's word on the whole image: it draws no boxes, so that it has none is no news."""
    return "spatial" in reply.service_types and (
        "classification" not in reply.service_types or any(seen.box for seen in reply.detections)
    )


@dataclass(frozen=True, slots=True)
class _Scene:
    """One image: what was seen, a row each, and what became of it, cluster by cluster.

    `knows` says which service knows which class, by their numbers, `able` who knows or saw it. `contested`
    are the clusters that several can have seen; `silence` is what the others take from their log-odds.
    """

    services: Sequence[str]
    sources: Sequence[SourcedDetection]
    weights: Weights
    knows: Flags
    able: Flags
    seen: Sightings
    placed: Placed
    contested: Flags
    silence: Floats
    score: Floats


def _scene(replies: Iterable[StoredReply], detectors: Detectors) -> _Scene:
    spatial = sorted(
        (one for one in replies if looked_for_boxes(one.reply)), key=lambda one: one.reply.service
    )
    sources = list(_sources(spatial))
    classes: dict[str, int] = {}
    service = {one.reply.service: number for number, one in enumerate(spatial)}
    seen = Sightings(
        corners=_corners(sources),
        logit=fusing.logit(np.array([one.detection.confidence for one in sources], float)),
        service=np.array([service[one.service] for one in sources], np.int64),
        group=np.array(
            [classes.setdefault(one.detection.class_name, len(classes)) for one in sources], np.int64
        ),
    )
    weights = _weights(service, detectors)
    knows = _knows(spatial, classes)
    able = knows.copy()
    able[seen.service, seen.group] = True
    chance = fusing.chances(seen, weights)
    placed = fusing.placed(seen, fusing.clusters(seen, chance), chance, weights)
    group = seen.group[placed.clusters.leader]
    contested = (able.sum(axis=0) > 1)[group]
    silence = fusing.silence(seen, placed.clusters, knows, weights)
    score = fusing.score(placed, silence, contested, weights)
    return _Scene(list(service), sources, weights, knows, able, seen, placed, contested, silence, score)


def _sources(spatial: Sequence[StoredReply]) -> Iterator[SourcedDetection]:
    for stored in spatial:
        for detection in stored.reply.detections:
            if detection.box is not None:
                yield SourcedDetection(
                    service=stored.reply.service, result_id=stored.result_id, detection=detection
                )


def _corners(sources: Sequence[SourcedDetection]) -> Floats:
    boxes = [one.detection.box for one in sources if one.detection.box is not None]
    rows = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in boxes]
    return np.array(rows, float).reshape(-1, 4)


def _knows(spatial: Sequence[StoredReply], classes: Collection[str]) -> Flags:
    """Which service says that it knows which class: service × class."""
    known = [one.reply.knows or frozenset() for one in spatial]
    rows = [[name in words for name in classes] for words in known]
    return np.array(rows, bool).reshape(len(spatial), len(classes))


def _weights(services: Iterable[str], detectors: Detectors) -> Weights:
    known = [detectors.known.get(name, detectors.average) for name in services]
    return Weights(
        right=np.array([one.right for one in known]),
        slope=np.array([one.slope for one in known]),
        place=np.array([one.place for one in known]),
        place_slope=np.array([one.place_slope for one in known]),
        silent=np.array([one.silent for one in known]),
        bias=detectors.bias,
        agreement=detectors.agreement,
        overlap=detectors.overlap,
    )


def _standing(scene: _Scene) -> Flags:
    return ~scene.contested | (scene.score >= STANDS)


def _boxes(scene: _Scene, chosen: Ints) -> Sequence[tuple[MergedBox, int]]:
    """The merged boxes of these clusters, strongest first, with the clusters' numbers.

    A service that says the same thing twice makes two clusters of one key; the stronger one is the box.
    """
    rows = _rows(scene)
    corners = np.round(scene.placed.corners, _PLACE).tolist()
    scores = np.round(scene.score, _SCORE).tolist()
    made = [(_box(scene, n, rows[n], corners[n], scores[n]), n) for n in chosen.tolist()]
    made.sort(key=lambda one: by_strength(one[0]))
    by_key: dict[str, tuple[MergedBox, int]] = {}
    for box, number in made:
        by_key.setdefault(box.key, (box, number))
    return list(by_key.values())


def _rows(scene: _Scene) -> Sequence[Sequence[int]]:
    """Of each cluster the rows of its detections, by service."""
    rows: list[list[int]] = [[] for _ in scene.score]
    for row, number in enumerate(scene.placed.clusters.cluster.tolist()):
        rows[number].append(row)
    return rows


def _box(
    scene: _Scene, number: int, rows: Sequence[int], corners: Sequence[float], score: float
) -> MergedBox:
    members = tuple(scene.sources[row] for row in rows)
    first = scene.sources[scene.placed.clusters.leader[number]].detection
    crop = _of(first)
    left, top, right, bottom = corners
    confidence = math.fsum(one.detection.confidence for one in members) / len(members)
    symbols = (emoji.normalise(one.emoji) for one in (first, *(one.detection for one in members)))
    return MergedBox(
        key=f"{first.class_name} {crop.x:.1f},{crop.y:.1f},{crop.width:.1f},{crop.height:.1f}",
        class_name=first.class_name,
        emoji=next(filter(None, symbols), ""),
        label=first.label,
        labels=tuple(sorted({one.detection.label for one in members})),
        box=Box(x=left, y=top, width=right - left, height=bottom - top),
        crop=crop,
        score=score,
        avg_confidence=round(confidence, 4),
        detections=members,
    )


def _judged(scene: _Scene, box: MergedBox, number: int) -> JudgedBox:
    placed = scene.placed
    contested = bool(scene.contested[number])
    return JudgedBox(
        box=box,
        threshold=STANDS if contested else 0.0,
        right=float(fusing.sigmoid(placed.log_odds[number])),
        rival=float(placed.overlap[number]) if contested else 0.0,
        votes=tuple(_votes(scene, number)),
    )


def _votes(scene: _Scene, number: int) -> Iterator[BoxVote]:
    """What each service that knows or saw the class says: who saw it, by weight, and who did not."""
    placed, group = scene.placed, scene.seen.group[scene.placed.clusters.leader[number]]
    rows = np.flatnonzero(placed.clusters.cluster == number)
    for row in sorted(rows.tolist(), key=lambda row: -placed.chance[row]):
        yield BoxVote(
            service=scene.sources[row].service,
            detection=scene.sources[row].detection,
            chance=float(placed.chance[row]),
            share=float(placed.share[row]),
            iou=float(placed.iou[row]),
        )
    saw = set(scene.seen.service[rows].tolist())
    for one, name in enumerate(scene.services):
        if one not in saw and scene.able[one, group]:
            silent = scene.weights.silent[one] if scene.knows[one, group] else 0.0
            yield BoxVote(service=name, silence=float(silent))


def _of(detection: Detection) -> Box:
    assert detection.box is not None  # noqa: S101 -- `_sources` lets no other through
    return detection.box
