"""Quality while replies come in: after each number of detectors, and when one more joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from windmill.calibrating.judge import Judge
from windmill.evaluating.boxes.arrivals import Kept, Order
from windmill.evaluating.boxes.crossing import Names, Outcome


@dataclass(frozen=True, slots=True)
class Change:
    """What `joined` made of the quality that `before` had; less than 0: it fell."""

    by: float
    before: Names
    joined: str

    @property
    def after(self) -> Names:
        return self.before | {self.joined}


@dataclass(frozen=True, slots=True)
class Stage:
    """After so many have reported, in the mean of all orders: quality, and what the last of them did.

    `worst_ap`, `worst_f1`: the least favourable change of any order that led here; empty at the first stage.
    """

    reported: int
    ap: float
    f1: float
    worst_ap: tuple[Change, ...]
    worst_f1: tuple[Change, ...]
    kept: Kept


def stages(judge: Judge, outcome: Outcome, orders: Sequence[Order]) -> tuple[Stage, ...]:
    ap = {who: judge.precision(judge.match(one.candidates)).ap for who, one in outcome.boxes.items()}
    f1 = {who: judge.point(judge.match(one.stored)).f1 for who, one in outcome.boxes.items()}
    found = []
    for n in range(1, len(orders[0]) + 1):
        here = [frozenset(order[:n]) for order in orders]
        steps = [(frozenset(order[: n - 1]), order[n - 1]) for order in orders if n > 1]
        found.append(
            Stage(
                n,
                mean(ap[who] for who in here),
                mean(f1[who] for who in here),
                _worst([Change(ap[who | {one}] - ap[who], who, one) for who, one in steps]),
                _worst([Change(f1[who | {one}] - f1[who], who, one) for who, one in steps]),
                outcome.kept.get(n - 1, Kept()),
            )
        )
    return tuple(found)


def worst_of_all(found: Sequence[Stage]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The worst changes of AP and of F1 at any stage; empty where nobody ever joins."""
    return (
        _worst([change for stage in found for change in stage.worst_ap]),
        _worst([change for stage in found for change in stage.worst_f1]),
    )


def _worst(changes: Sequence[Change]) -> tuple[Change, ...]:
    return (min(changes, key=lambda one: one.by),) if changes else ()
