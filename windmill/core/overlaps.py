"""Which of many boxes overlap, without comparing each with each.

Corners are rows of left, top, right, bottom in pixels; boxes of different groups never overlap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union row by row, in [0, 1]; 0 for boxes that do not touch or have no area."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    np.maximum(sides, 0.0, out=sides)
    common = sides[:, 0] * sides[:, 1]
    union = area(a) + area(b) - common
    shares: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return np.minimum(shares, 1.0)


def area(corners: Floats) -> Floats:
    """In square pixels."""
    product: Floats = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    return product


def pairs(corners: Floats, group: Ints, least: float) -> tuple[Ints, Ints, Floats]:
    """All pairs of boxes of one group whose IoU is `least` or more, with that IoU; `least` is above 0.

    Boxes with an IoU of t have centres no further apart than (1 - t) / 2t of either's width. So on a line,
    sorted by their centres, each is compared with its near neighbours only; groups lie on that line one
    behind the other.
    """
    width = corners[:, 2] - corners[:, 0]
    centre = (corners[:, 0] + corners[:, 2]) / 2
    if not len(centre):
        return _NONE, _NONE, np.zeros(0)
    reach = width * ((1 - least) / (2 * least)) * (1 + 1e-9)
    start = centre.min()
    along = centre - start + group * (centre.max() - start + reach.max() + 1)
    order = np.argsort(along, kind="stable")
    sorted_along = along[order]
    ends = np.searchsorted(sorted_along, sorted_along + reach[order], side="right")
    many = ends - np.arange(1, len(order) + 1)
    first = np.repeat(np.arange(len(order)), many)
    second = np.arange(len(first)) - np.repeat(np.cumsum(many) - many, many) + first + 1
    a, b = order[first], order[second]
    found = iou(corners[a], corners[b])
    near = found >= least
    return a[near], b[near], found[near]


_NONE: Ints = np.zeros(0, np.int64)
