"""Replies that come one after another: what becomes of the boxes as each joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations

import numpy as np

from windmill.core.geometry import iou
from windmill.evaluating.boxes.rule import Merged
from windmill.model import MergedBox, ServiceReply

MOST = 12  # orders, where there are more
NEAR = 0.1  # IoU from which a detection says something about a box

Order = tuple[str, ...]


def orders(detectors: Sequence[str]) -> list[Order]:
    """All orders of up to three detectors; of more a sample, in which each has each place equally often."""
    if len(detectors) <= 3:
        return list(permutations(detectors))
    names, generator = np.array(detectors), np.random.default_rng(0)
    starts = [generator.permutation(names) for _ in range(max(1, MOST // len(names)))]
    return [tuple(map(str, np.roll(start, n))) for start in starts for n in range(len(names))]


def prefixes(sequence: Sequence[Order]) -> list[frozenset[str]]:
    """Every set of detectors that has reported at some time, smallest first, each once."""
    seen = {frozenset(order[:n]): None for order in sequence for n in range(1, len(order) + 1)}
    return sorted(seen, key=lambda one: (len(one), sorted(one)))


@dataclass(frozen=True, slots=True)
class Kept:
    """Stored boxes before a reply and after it, counted over images and orders.

    `before`: how many there were; `kept`: of these still there under the same key; `still`: of these at the
    very same place; `crops`: whose pixels and class are still wanted; `fresh`: boxes after it that must be
    cropped anew. Of the boxes that the reply says nothing about (`silent`), `outvoted` are gone, and `moved`
    have another key or place.
    """

    moments: int = 0
    before: int = 0
    kept: int = 0
    still: int = 0
    crops: int = 0
    fresh: int = 0
    silent: int = 0
    outvoted: int = 0
    moved: int = 0

    def __add__(self, other: Kept) -> Kept:
        return Kept(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


def kept(
    sequence: Sequence[Order], states: Mapping[frozenset[str], Merged], replies: Mapping[str, ServiceReply]
) -> dict[int, Kept]:
    """For one image, by the number of detectors that had reported before."""
    counts: dict[int, Kept] = {}
    for order in sequence:
        for n in range(1, len(order)):
            before, after = states[frozenset(order[:n])], states[frozenset(order[: n + 1])]
            step = compared(before.stored, after.stored, replies[order[n]])
            counts[n] = counts.get(n, Kept()) + step
    return counts


def compared(before: Sequence[MergedBox], after: Sequence[MergedBox], reply: ServiceReply) -> Kept:
    """What one reply did to the boxes of one image."""
    places, crops = {one.key: one.box for one in after}, {_crop(one) for one in after}
    old = {_crop(one) for one in before}
    silent = [one for one in before if not _about(reply, one)]
    lost = [one for one in silent if one.key not in places]
    renamed = sum(any(_succeeds(later, one) for later in after) for one in lost)
    shifted = sum(one.key in places and places[one.key] != one.box for one in silent)
    return Kept(
        moments=1,
        before=len(before),
        kept=sum(one.key in places for one in before),
        still=sum(places.get(one.key) == one.box for one in before),
        crops=sum(_crop(one) in crops for one in before),
        fresh=sum(_crop(one) not in old for one in after),
        silent=len(silent),
        outvoted=len(lost) - renamed,
        moved=renamed + shifted,
    )


def _crop(merged: MergedBox) -> tuple[str, float, float, float, float]:
    box = merged.crop
    return merged.class_name, box.x, box.y, box.width, box.height


def _about(reply: ServiceReply, merged: MergedBox) -> bool:
    return any(
        one.box is not None and one.class_name == merged.class_name and iou(one.box, merged.box) > NEAR
        for one in reply.detections
    )


def _succeeds(later: MergedBox, merged: MergedBox) -> bool:
    """It holds something that `merged` was made of."""
    return any(one in merged.detections for one in later.detections)
