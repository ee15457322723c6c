"""Where to cut: the rule that best tells queries which fit from those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from windmill.index.cutoffs import Rule

_SLOPES = np.arange(0.0, 3.01, 0.25)
_LEASTS = np.arange(-50, 100) / 100

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A query of a kind, whether it `fits`, and its best score; the cut-off that was applied, and how `near`
    the query is to what words have in common. What is about one photo is of one `group`."""

    kind: str
    fits: bool
    best: float
    least: float
    near: float
    group: int


def learned(scored: Sequence[Scored]) -> Rule:
    """The rule of which most queries are told right, each kind with the same weight (Youden's J)."""
    best, near, fits = _columns(scored)
    weights = _weights(scored)
    margins = best - _SLOPES[:, None] * near  # slopes × queries
    right = (margins[:, None] >= _LEASTS[:, None]) == fits
    slope, least = np.unravel_index(np.argmax(right @ weights), (len(_SLOPES), len(_LEASTS)))
    return Rule(float(_LEASTS[least]), float(_SLOPES[slope]))


def told_right(scored: Sequence[Scored], rule: Rule) -> float:
    """The share of queries that a rule tells right; fitting ones and others, and each kind of them, weigh the
    same. 0.5 is what a rule without knowledge has; Youden's J is twice as much less 1."""
    best, near, fits = _columns(scored)
    right = (best - rule.slope * near >= rule.least) == fits
    return float(right @ _weights(scored))


def _columns(scored: Sequence[Scored]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    rows = np.array([(one.best, one.near, one.fits) for one in scored])
    return rows[:, 0], rows[:, 1], rows[:, 2].astype(bool)


def _weights(scored: Sequence[Scored]) -> Floats:
    kinds = {fits: {one.kind for one in scored if one.fits == fits} for fits in (True, False)}
    count = {kind: sum(one.kind == kind for one in scored) for both in kinds.values() for kind in both}
    return np.array([0.5 / len(kinds[one.fits]) / count[one.kind] for one in scored])
