"""The figures of every rule for votes, how sure they are, and what each idea of the calibrated one brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from windmill.calibrating import votes
from windmill.calibrating.votes import ALL
from windmill.evaluating.votes import crossing, scores
from windmill.evaluating.votes.cases import Cases
from windmill.evaluating.votes.crossing import Crossing, Learned, Said
from windmill.evaluating.votes.scores import Bin, Floats
from windmill.model import Voters

V3, CALIBRATED, SHARE = "V3", "calibrated", "votes / services"
_SHUFFLES = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, where 95 of 100 such sets of images would have it, and what chance would give."""

    value: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True, slots=True)
class Row:
    """How well one rule, or one voter alone, does. `error`: of its probabilities, where it has some."""

    name: str
    mean_ap: Estimate
    micro_ap: Estimate
    f1: Estimate
    error: float | None
    gain: Mapping[str, Estimate]  # of the calibrated rule over it, by figure


@dataclass(frozen=True, slots=True)
class Idea:
    """The calibrated rule without one idea; `fewer`: where only some of the voters had been asked."""

    without: str
    mean_ap: float
    f1: float
    error: float
    loss: float
    fewer_error: float
    fewer_loss: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of a folder; `voters` were learned from all of it."""

    name: str
    images: int
    named: int
    unjudged: int
    folds: int
    rows: tuple[Row, ...]
    reliability: tuple[Bin, ...]
    ideas: tuple[Idea, ...]
    voters: Voters
    absent: Mapping[str, str]


def steps(folds: int) -> int:
    """How often `made` says that it is a step further."""
    return folds * (2 + len(crossing.WITHOUT))


def made(cases: Cases, folds: int, resamples: int, done: Callable[[], None]) -> Report:
    """Everything, cross-validated by image. Raises `ConfigError` where there is too little to learn from."""
    across = Crossing(cases, folds)
    voters = votes.learn(across.examples)
    every = {"nothing": across.learned(ALL, done)}
    every |= {name: across.learned(ideas, done) for name, ideas in crossing.WITHOUT.items()}
    every[crossing.STRANGERS] = across.learned(ALL, done, strangers=True)
    ours = every["nothing"].all
    counted, share = across.counted()
    said = {V3: counted, CALIBRATED: ours, SHARE: share}
    said |= {name: across.alone(name) for name in cases.services}
    rows = _rows(said, across, scores.draws(len(cases.cases), resamples))
    return Report(
        name=cases.name,
        images=len(cases.cases),
        named=int((ours.score > -np.inf).sum()),
        unjudged=cases.unjudged,
        folds=folds,
        rows=tuple(rows),
        reliability=tuple(scores.reliability(*_probabilities(ours, across))),
        ideas=tuple(_idea(name, one, across) for name, one in every.items()),
        voters=voters,
        absent=cases.absent,
    )


def _rows(said: Mapping[str, Said], across: Crossing, drawn: Floats) -> Sequence[Row]:
    figures = {name: _figures(one, across, drawn) for name, one in said.items()}
    chance = {name: _chance(one, across) for name, one in said.items()}
    best = figures[CALIBRATED]
    return [
        Row(
            name=name,
            mean_ap=_estimate(own[0], chance[name][0]),
            micro_ap=_estimate(own[1], chance[name][1]),
            f1=_estimate(own[2], chance[name][2]),
            error=scores.calibration_error(*_probabilities(said[name], across))
            if said[name].probability
            else None,
            gain={
                figure: _estimate(ours - theirs, 0.0)
                for figure, ours, theirs in zip(("mAP", "micro AP", "F1"), best, own, strict=True)
            },
        )
        for name, own in figures.items()
    ]


def _figures(said: Said, across: Crossing, drawn: Floats) -> tuple[Floats, Floats, Floats]:
    """mAP, micro AP and mean F1 for each draw of the images."""
    return (
        scores.mean_average_precision(said.score, across.truth, drawn),
        scores.micro_average_precision(said.score, across.truth, drawn),
        drawn @ scores.f1(said.stands, across.truth) / drawn.sum(axis=1),
    )


def _chance(said: Said, across: Crossing) -> Sequence[float]:
    """What the same words would score about other images than they were said of."""
    random = np.random.default_rng(0)
    once = np.ones((1, len(across.truth)))
    found = []
    for _ in range(_SHUFFLES):
        other = random.permutation(len(across.truth))
        moved = Said(said.score[other], said.stands[other])
        found.append([one[0] for one in _figures(moved, across, once)])
    return [float(one) for one in np.mean(found, axis=0)]


def _estimate(drawn: Floats, chance: float) -> Estimate:
    """Of a figure for the images as they are, first, and for each bootstrap sample of them."""
    low, high = np.nanpercentile(drawn[1:], [2.5, 97.5])
    return Estimate(float(drawn[0]), float(low), float(high), chance)


def _probabilities(said: Said, across: Crossing) -> tuple[Floats, scores.Mask]:
    named = said.score > -np.inf
    return said.score[named], across.truth[named]


def _idea(name: str, one: Learned, across: Crossing) -> Idea:
    probability, truth = _probabilities(one.all, across)
    once = np.ones((1, len(across.truth)))
    mean_ap, _, f1 = _figures(one.all, across, once)
    fewer = one.fewer
    return Idea(
        without=name,
        mean_ap=float(mean_ap[0]),
        f1=float(f1[0]),
        error=scores.calibration_error(probability, truth),
        loss=scores.log_loss(probability, truth),
        fewer_error=scores.calibration_error(fewer.probability, fewer.truth),
        fewer_loss=scores.log_loss(fewer.probability, fewer.truth),
    )
