"""How right voters have been: what the calibrated consensus weighs their words by (docs/voting.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """What one voter's word is worth, in log-odds (natural logarithm).

    Saying a label with the confidence c adds `said` + `slope` · logit(c), with c kept within `least` and
    `most`: between them it was seen. Not saying one of `labels`, which it is known to know, adds `silent`.
    `count` is how often it spoke while it was learned from, `right` the share of that which was true.
    """

    said: float
    slope: float
    silent: float
    least: float
    most: float
    count: int
    right: float
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Voters:
    """What is known of all voters together.

    A label that somebody names begins with `prior`, and its own `labels` beside that. The words of n voters
    count by the factor n^-`together` each, since they err together: 0 are voters who know nothing of each
    other, 1 is their mean. `average` stands for a voter whom nobody calibrated.
    """

    prior: float
    together: float
    average: Voter
    known: Mapping[str, Voter]
    labels: Mapping[str, float]
