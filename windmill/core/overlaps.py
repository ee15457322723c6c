"""Which of many boxes overlap, without comparing each with each.

Corners are rows of left, top, right, bottom in pixels; boxes of different groups never overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints, Floats]  # one box, the other, and their IoU

_MANY = 16  # neighbours of a box from which it is worth to look along the other side, too
_BATCH = 1 << 18  # pairs whose corners are at hand at once: some tens of megabytes
_ROUNDING = 4 * np.finfo(float).eps


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which boxes may overlap: the one at the place n in `order` and the `many[n]` behind it."""

    order: Ints
    many: Ints

    @property
    def count(self) -> int:
        """Of pairs."""
        return int(self.many.sum())

    def pairs(self) -> tuple[Ints, Ints]:
        return self._pairs(np.arange(len(self.many)))

    def batches(self) -> Iterator[tuple[Ints, Ints]]:
        """The same pairs, some at a time."""
        cuts = np.searchsorted(np.cumsum(self.many), np.arange(_BATCH, self.count, _BATCH))
        for places in np.split(np.arange(len(self.many)), cuts):
            yield self._pairs(places)

    def _pairs(self, places: Ints) -> tuple[Ints, Ints]:
        many = self.many[places]
        first = np.repeat(places, many)
        step = np.arange(1, len(first) + 1) - np.repeat(np.cumsum(many) - many, many)
        return self.order[first], self.order[first + step]


@dataclass(frozen=True, slots=True)
class Touching:
    """What `pairs` gives, found a batch at a time whenever it is asked for: all may be too many to keep."""

    corners: Floats
    group: Ints
    least: float

    def __iter__(self) -> Iterator[Pairs]:
        for one, other in neighbours(self.corners, self.group, self.least).batches():
            yield overlapping(self.corners, one, other, self.least)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union row by row, in [0, 1]; 0 for boxes that do not touch or have no area."""
    return _iou(np.ascontiguousarray(a.T), np.ascontiguousarray(b.T))


def _iou(a: Floats, b: Floats) -> Floats:
    """The same of columns, which lie together in memory."""
    sides = np.minimum(a[2:], b[2:])
    sides -= np.maximum(a[:2], b[:2])
    np.maximum(sides, 0.0, out=sides)
    common: Floats = sides[0] * sides[1]
    union = _area(a) + _area(b) - common
    union[union <= 0] = np.inf
    common /= union
    return np.minimum(common, 1.0, out=common)


def _area(columns: Floats) -> Floats:
    sides = columns[2:] - columns[:2]
    product: Floats = sides[0] * sides[1]
    return product


def pairs(corners: Floats, group: Ints, least: float) -> Pairs:
    """All pairs of boxes of one group whose IoU is `least` or more, with that IoU; `least` is above 0."""
    return overlapping(corners, *neighbours(corners, group, least).pairs(), least)


def overlapping(corners: Floats, one: Ints, other: Ints, least: float) -> Pairs:
    """Those of the pairs whose IoU is `least` or more, with that IoU."""
    columns = np.ascontiguousarray(corners.T)
    found = _iou(columns.take(one, axis=1), columns.take(other, axis=1))
    chosen = found >= least
    return one[chosen], other[chosen], found[chosen]


def neighbours(corners: Floats, group: Ints, least: float) -> Neighbours:
    """Boxes of one group that may have an IoU of `least` or more.

    Boxes with an IoU of t have centres no further apart than (1 - t) / 2t of either's width. So on a line,
    sorted by their centres, only those that lie near each other need to be compared; groups lie on that line
    one behind the other. Where many boxes stand one above the other, the same holds for their heights.
    """
    if not len(corners):
        return Neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64))
    found = _along(corners[:, 0], corners[:, 2], group, least)
    if found.count <= _MANY * len(corners):
        return found
    return min(found, _along(corners[:, 1], corners[:, 3], group, least), key=lambda one: one.count)


def _along(start: Floats, end: Floats, group: Ints, least: float) -> Neighbours:
    reach = (end - start) * ((1 - least) / (2 * least) * (1 + 1e-9))
    centre = (start + end) / 2
    first = centre.min()
    line = centre - first + group * (centre.max() - first + reach.max() + 1)
    order = np.argsort(line, kind="stable")
    line = line[order]
    limit = line + (reach[order] + line[-1] * _ROUNDING)
    return Neighbours(order, np.searchsorted(line, limit, side="right") - np.arange(1, len(order) + 1))
