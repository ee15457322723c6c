"""How much of a difference is chance: the same on images drawn again and again (the paired bootstrap)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windmill.calibrating.judge import Judge
from windmill.evaluating.boxes.crossing import Both
from windmill.evaluating.boxes.folder import Source


@dataclass(frozen=True, slots=True)
class Spread:
    """A difference on all images, and its standard error: by so much it varies with the images drawn."""

    difference: float
    error: float


@dataclass(frozen=True, slots=True)
class Differences:
    """Of AP between candidates, of F1 between stored boxes."""

    ap: Spread
    f1: Spread


@dataclass(frozen=True, slots=True)
class Versus:
    """What one merge is ahead of another, with `resamples` draws of as many images as there are."""

    source: Source
    mine: Both
    theirs: Both
    resamples: int

    def run(self) -> Differences:
        folder = self.source.folder
        judge, images = Judge(folder.marked), len(folder.pictures)
        candidates = [judge.match(one.candidates) for one in (self.mine, self.theirs)]
        stored = [judge.match(one.stored) for one in (self.mine, self.theirs)]
        draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), self.resamples)
        rows = np.array(
            [
                [judge.precision(one, often).ap for one in candidates]
                + [judge.point(one, often).f1 for one in stored]
                for often in [np.ones(images), *draws.astype(np.float64)]
            ]
        )
        return Differences(_spread(rows[:, 0] - rows[:, 1]), _spread(rows[:, 2] - rows[:, 3]))


def _spread(differences: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Spread:
    """The first is that on all images."""
    return Spread(float(differences[0]), float(differences[1:].std(ddof=1)))
