"""Arithmetic of boxes. All boxes are `(x, y, width, height)` in upright image pixels."""

from __future__ import annotations

import math

from windmill.model import Box

FARTHEST = 1e9  # pixels from the corner at most: no image is that large, and areas neither overflow nor blur


def iou(a: Box, b: Box) -> float:
    """Intersection over union, in [0, 1]; 0 for boxes that do not touch or have no area."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    union = a.width * a.height + b.width * b.height - intersection
    return min(1.0, intersection / union) if union > 0 else 0.0  # 0: areas too small for a float


def pixel_bounds(box: Box) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the whole pixels that `box` touches (right and bottom exclusive)."""
    left, top = math.floor(box.x), math.floor(box.y)
    right, bottom = math.ceil(box.x + box.width), math.ceil(box.y + box.height)
    return left, top, max(right, left + 1), max(bottom, top + 1)
