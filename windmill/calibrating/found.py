"""Boxes of many images as columns of numbers: what a detector, a merge or the truth says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes with their scores, in an order that breaks ties.

    `image` and `category`: numbers from 0; `score` in [0, 1]; `box`: rows of x, y, width and
    height in pixels. All are of one length.
    """

    image: Ints
    category: Ints
    score: Floats
    box: Floats

    def __len__(self) -> int:
        return len(self.score)

    def where(self, chosen: Flags | Ints) -> Found:
        """The boxes chosen by a mask or by their places."""
        return Found(self.image[chosen], self.category[chosen], self.score[chosen], self.box[chosen])

    def by_image(self, images: int) -> list[Found]:
        """The boxes of each of `images`."""
        order = np.argsort(self.image, kind="stable")
        ends = np.searchsorted(self.image[order], np.arange(images + 1))
        return [self.where(order[start:end]) for start, end in pairwise(ends)]


@dataclass(frozen=True, slots=True)
class Marked:
    """What is known to be on images (all scores are 1). `crowd` marks boxes around many objects."""

    images: int
    categories: int
    objects: Found
    crowd: Flags


Line = tuple[int, int, float, float, float, float, float]  # image, category, score, x, y, width, height


def columns(lines: Sequence[Line]) -> Found:
    """What was gathered box by box."""
    table = np.array(lines, dtype=np.float64).reshape(-1, 7)
    return Found(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], table[:, 3:])


def joined(parts: Sequence[Found]) -> Found:
    """All boxes of `parts`, part after part."""
    if not parts:
        return columns([])
    return Found(
        np.concatenate([one.image for one in parts]),
        np.concatenate([one.category for one in parts]),
        np.concatenate([one.score for one in parts]),
        np.concatenate([one.box for one in parts]),
    )
