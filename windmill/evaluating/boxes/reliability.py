"""Whether scores are the probabilities that they are said to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windmill.calibrating.judge import Matches

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Boxes of about the same score: how many, their mean score, the share that is right at an IoU of 0.5."""

    count: int
    score: float
    right: float


def bins(matches: Matches) -> tuple[Bin, ...]:
    """The boxes that count, by score, in `BINS` bins of one size."""
    counted = ~matches.ignored[0]
    score, right = matches.score[counted], matches.right[0, counted]
    order = np.argsort(score, kind="stable")
    return tuple(
        Bin(len(own), float(score[own].mean()), float(right[own].mean()))
        for own in np.array_split(order, BINS)
        if len(own)
    )


def calibration_error(found: tuple[Bin, ...]) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015)."""
    return sum(one.count * abs(one.score - one.right) for one in found) / max(1, sum(b.count for b in found))
