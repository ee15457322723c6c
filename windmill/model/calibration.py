"""How right detectors and voters have been, by which boxes are merged and words weighed.

docs/merging.md and docs/voting.md say how.
"""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """What one detector's boxes are worth; c is the confidence of a box.

    It is right by itself with log-odds of `right` + `slope` · logit(c); its corners count with the weight
    exp(`place` + `place_slope` · logit(c)); that it saw nothing adds `silent` to a box's log-odds.
    `count` is how many of its boxes were learned from.
    """

    right: float
    slope: float
    place: float
    place_slope: float
    silent: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Detectors:
    """What is known of all detectors together.

    A box's log-odds begin with `bias`; those that one of its detections is right count `agreement` times, the
    squared IoU with a surer box `overlap` times. `average` stands for a detector that nobody calibrated.
    """

    bias: float
    agreement: float
    overlap: float
    average: Detector
    known: Mapping[str, Detector]
