"""The well-known ways of merging boxes, as ensemble-boxes (MIT) implements them.

Each is given what helps it most: its thresholds are searched, and its weights taken, on the very images on
which it is judged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np

from windmill.calibrating.found import Floats, Found, joined
from windmill.errors import ConfigError
from windmill.evaluating.boxes.folder import Folder, Source
from windmill.extras import needs

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)  # that make two boxes one
SKIPS = (0.35,)  # scores below which a box is left out, tried at the best IoU

_Lists = tuple[list[Floats], list[Floats], list[Floats]]  # a model's corners from 0 to 1, scores, classes
_Fuse = Callable[..., tuple[Floats, Floats, Floats]]


@dataclass(frozen=True, slots=True)
class Rival:
    """A method: its function's name in ensemble-boxes, and whether models are weighted by their own AP."""

    name: str
    function: str
    weighted: bool
    skips: bool = True  # has a threshold on scores


METHODS: Mapping[str, tuple[Rival, ...]] = {
    "nms": (Rival("NMS, weighted", "nms", True, skips=False),),
    "soft-nms": (Rival("soft NMS, weighted", "soft_nms", True, skips=False),),
    "nmw": tuple(
        Rival(name, "non_maximum_weighted", "weighted" in name) for name in ("NMW", "NMW, weighted")
    ),
    "wbf": tuple(
        Rival(name, "weighted_boxes_fusion", "weighted" in name) for name in ("WBF", "WBF, weighted")
    ),
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    iou: float
    skip: float = 0.0

    def __str__(self) -> str:
        return f"IoU {self.iou:g}" + (f", skip {self.skip:g}" if self.skip else "")


def version() -> str:
    """`ensemble-boxes 1.0.9`. Raises `ConfigError` when it is not installed."""
    try:
        return f"ensemble-boxes {metadata.version('ensemble-boxes')}"
    except metadata.PackageNotFoundError as exc:
        raise ConfigError("ensemble-boxes is missing: pip install 'windmill-images[eval]'") from exc


@dataclass(frozen=True, slots=True)
class Trial:
    """One method at one setting; `weights`: one a detector."""

    source: Source
    detectors: tuple[str, ...]
    rival: Rival
    thresholds: Thresholds
    weights: tuple[float, ...]

    def run(self) -> Found:
        return fused(self.source.folder, self.detectors, self.rival, self.thresholds, self.weights)


def fused(
    folder: Folder, detectors: Sequence[str], rival: Rival, thresholds: Thresholds, weights: Sequence[float]
) -> Found:
    """What `rival` makes of the detectors' boxes; `weights`: one a detector, unless it takes none."""
    method = _method(rival, thresholds, weights)
    parts = [folder.detectors[name].by_image(len(folder.pictures)) for name in detectors]
    images = []
    for n, picture in enumerate(folder.pictures):
        size = np.array([picture.width, picture.height])
        lists = _lists([part[n] for part in parts], size)
        if any(len(scores) for scores in lists[1]):
            images.append(_found(n, size, *method(*lists)))
    return joined(images)


def _method(rival: Rival, thresholds: Thresholds, weights: Sequence[float]) -> _Fuse:
    with needs("eval"):
        module: Any = importlib.import_module("ensemble_boxes")
    options: dict[str, Any] = {"iou_thr": thresholds.iou}
    if rival.weighted:
        options["weights"] = list(weights)
    if rival.skips:
        options["skip_box_thr"] = thresholds.skip
    return partial(getattr(module, rival.function), **options)


def _lists(parts: Sequence[Found], size: Floats) -> _Lists:
    """As ensemble-boxes wants them; it tells of boxes outside the image and of empty ones on the terminal."""
    corners = [_corners(one.box, size) for one in parts]
    full = [(one[:, 2] > one[:, 0]) & (one[:, 3] > one[:, 1]) for one in corners]
    return (
        [box[keep] for box, keep in zip(corners, full, strict=True)],
        [one.score[keep] for one, keep in zip(parts, full, strict=True)],
        [one.category[keep].astype(np.float64) for one, keep in zip(parts, full, strict=True)],
    )


def _corners(box: Floats, size: Floats) -> Floats:
    """Left, top, right, bottom from 0 to 1."""
    corners: Floats = np.c_[box[:, :2], box[:, :2] + box[:, 2:]] / np.tile(size, 2)
    return corners.clip(0, 1)


def _found(image: int, size: Floats, corners: Floats, scores: Floats, classes: Floats) -> Found:
    pixels = np.asarray(corners, dtype=np.float64).reshape(-1, 4) * np.tile(size, 2)
    box = np.c_[pixels[:, :2], pixels[:, 2:] - pixels[:, :2]]
    places = np.full(len(box), image, dtype=np.int64)
    return Found(places, np.asarray(classes, np.int64), np.asarray(scores, np.float64), box)
