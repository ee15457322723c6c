"""Where the labels of boxes go in a picture, so that they hide neither each other nor small things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_HIDDEN = 0.5  # share of a box that a label may cover

Corners = NDArray[np.float64]  # (n, 4): left, top, right, bottom in pixels of the picture


@dataclass(frozen=True, slots=True)
class Place:
    """Which of a label's texts is written, and where its left upper corner is."""

    text: int
    left: float
    top: float


def place(
    boxes: Sequence[tuple[float, float, float, float]],
    sizes: Sequence[Sequence[tuple[float, float]]],
    canvas: tuple[float, float],
) -> list[Place]:
    """A place for each box's label; earlier boxes choose first.

    `boxes` are left, top, right, bottom; `sizes` holds for each the width and height of its label's texts,
    longest first: where a long one finds no room, a shorter one is tried. The shortest is written in any
    case, where it covers other labels least.
    """
    corners = np.array(boxes, dtype=float).reshape(-1, 4)
    taken = np.empty((0, 4))
    places = []
    for box, texts in zip(corners, sizes, strict=True):
        text, spot = _choose(box, texts, canvas, corners, taken)
        places.append(Place(text, float(spot[0]), float(spot[1])))
        taken = np.vstack((taken, spot))
    return places


def _choose(
    box: Corners,
    texts: Sequence[tuple[float, float]],
    canvas: tuple[float, float],
    boxes: Corners,
    taken: Corners,
) -> tuple[int, Corners]:
    for number, size in enumerate(texts):
        spots = _spots(box, size, canvas)
        hidden = (_common(spots, boxes) / _areas(boxes)).max(axis=1)
        free = (_common(spots, taken).sum(axis=1) == 0) & (hidden <= _MOST_HIDDEN)
        if free.any() and size[0] <= canvas[0]:
            return number, spots[free.argmax()]
    spots = _spots(box, texts[-1], canvas)
    return len(texts) - 1, spots[_common(spots, taken).sum(axis=1).argmin()]


def _spots(box: Corners, size: tuple[float, float], canvas: tuple[float, float]) -> Corners:
    """Where a label may be, best first: above its box, below, inside, beside; each within the canvas."""
    left, top, right, bottom = box
    width, height = size
    corners = np.array(
        [
            (left, top - height),
            (left, bottom),
            (left, top),
            (right - width, top - height),
            (right - width, bottom),
            (right - width, top),
            (left, bottom - height),
            (right - width, bottom - height),
            (right, top),
            (left - width, top),
            (right, bottom - height),
            (left - width, bottom - height),
        ]
    )
    farthest = np.maximum(np.array(canvas) - size, 0)
    corners = np.clip(corners, 0, farthest)
    return np.hstack((corners, corners + size))


def _common(spots: Corners, others: Corners) -> Corners:
    """Area that each spot has in common with each other rectangle: (spots, others)."""
    low = np.maximum(spots[:, None, :2], others[None, :, :2])
    high = np.minimum(spots[:, None, 2:], others[None, :, 2:])
    area: Corners = np.clip(high - low, 0, None).prod(axis=2)
    return area


def _areas(boxes: Corners) -> Corners:
    area: Corners = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1.0)
    return area
