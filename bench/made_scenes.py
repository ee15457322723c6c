"""Scenes that nobody photographed: what detectors say of many objects, and of one too many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from windmill.model import Box, Detection, ServiceReply, StoredReply

CLASSES = 80
ROOM = 25_000  # square pixels of the image for each object: as many boxes overlap, however many there are
MISSED, FALSE = 0.2, 0.2  # share of the objects that a detector misses, and of its boxes that show nothing
JITTER = 0.05  # standard deviation of a detector's corners, in sides of the object
_THEN = datetime(2000, 1, 1, tzinfo=UTC)
_NAMES = tuple(f"class {n}" for n in range(CLASSES))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def scene(detectors: int, each: int, seed: int = 0) -> Sequence[StoredReply]:
    """What so many detectors say, `each` with so many boxes.

    The n-th most frequent class is 1/n as frequent as the first, which is about how photos of COCO are.
    """
    random = np.random.default_rng(seed)
    objects = round(each * (1 - FALSE) / (1 - MISSED))
    side = np.sqrt(objects * ROOM)
    corners, groups = _objects(random, objects, side)
    replies = []
    for n in range(detectors):
        seen = random.choice(objects, round(each * (1 - FALSE)), replace=False)
        sides = np.tile(corners[seen, 2:] - corners[seen, :2], 2)
        false, false_groups = _objects(random, each - len(seen), side)
        boxes = np.vstack([corners[seen] + random.normal(0, JITTER, sides.shape) * sides, false])
        sure = np.append(random.beta(4, 1.5, len(seen)), random.beta(1.5, 4, len(false)))
        replies.append(_reply(n, boxes.clip(0, side), sure, np.append(groups[seen], false_groups)))
    return replies


def crowd(detectors: int, each: int, seed: int = 0) -> Sequence[StoredReply]:
    """The worst there is: all boxes around one object."""
    random = np.random.default_rng(seed)
    around = np.array([100.0, 100, 300, 300])
    none = np.zeros(each, np.int64)
    return [
        _reply(n, around + random.normal(0, 10, (each, 4)), random.random(each), none)
        for n in range(detectors)
    ]


def _objects(random: np.random.Generator, many: int, side: float) -> tuple[Floats, Ints]:
    """Their corners and classes; anywhere, and of sizes as in photos: many small ones, few large ones."""
    sizes = np.exp(random.normal(4.2, 0.8, (many, 1)) + random.normal(0, 0.3, (many, 2))).clip(6, 0.9 * side)
    start = random.random((many, 2)) * (side - sizes)
    frequency = 1 / np.arange(1, CLASSES + 1)
    groups = random.choice(CLASSES, many, p=frequency / frequency.sum())
    return np.hstack([start, start + sizes]), groups


def _reply(number: int, corners: Floats, sure: Floats, groups: Ints) -> StoredReply:
    rows = zip(corners.tolist(), sure.tolist(), groups.tolist(), strict=True)
    seen = tuple(
        Detection(
            label=_NAMES[group],
            emoji="",
            confidence=confidence,
            class_name=_NAMES[group],
            box=Box(x=left, y=top, width=right - left, height=bottom - top),
        )
        for (left, top, right, bottom), confidence, group in rows
    )
    reply = ServiceReply(
        service=f"detector {number}",
        service_types=("spatial",),
        knows=frozenset(_NAMES),
        detections=seen,
        found=len(seen),
    )
    return StoredReply(result_id=number, created=_THEN, reply=reply)
