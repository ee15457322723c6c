"""The arithmetic behind `votes.learn`: what examples say as arrays, and the fit to them.

Rows are examples, columns voters. A fit's weights are one flat array: the prior, then for every voter what
its word is worth, its slope over the logit of its confidence, and its silence, and at the end the power by
which the number of voters is discounted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from windmill.calibrating.regression import sigmoid

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_STEPS, _HALVINGS, _ENOUGH = 50, 12, 1e-7  # of Fisher scoring; its gain in log-likelihood that is none
_TO_AVERAGE = 1.0  # 1 / variance of voters around the average one, in log-odds
_TO_NOTHING = 0.01  # the same of each voter around no weight
_LABELS = 3.0  # the same of labels around the average one
_TOGETHER, _TO_TOGETHER = 0.5, 4.0  # the power that is expected, and 1 / variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Examples × voters: who said it, the logit of its confidence there, and who knew it and was silent.

    `heard` is how many services said it or knew it, `label` the number of the label, `true` is 0 or 1, and
    `share` how much the example counts.
    """

    said: Mask
    logits: Floats
    silent: Mask
    heard: Floats
    label: npt.NDArray[np.int64]
    true: Floats
    share: Floats

    @property
    def evidence(self) -> Floats:
        """Examples × what moves them: words, slopes, silences, in the order of the weights."""
        return np.hstack([self.said, np.where(self.said, self.logits, 0.0), self.silent])


@dataclass(frozen=True, slots=True)
class Fit:
    """The weights by kind, a value for each voter, and the offset of each label."""

    prior: float
    said: Floats
    slope: Floats
    silent: Floats
    together: float
    labels: Floats


def fit(table: Table, *, silence: bool, together: bool, labels: int, rounds: int = 3) -> Fit:
    """The weights under which the examples are likeliest; without `silence`, silence is worth nothing,
    without `together` n voters count n times. `labels` is how many there are; 0: none has an offset.

    Slopes are never negative and silence never positive: who is surer is not less right, and not seeing a
    thing never speaks for it.
    """
    voters = table.said.shape[1]
    pinned = np.zeros(3 * voters + 2, bool)
    pinned[1 + 2 * voters : -1] = not silence
    pinned[-1] = not together
    weights = np.zeros(3 * voters + 2)
    weights[-1] = _TOGETHER if together else 0.0
    offsets = np.zeros(max(1, labels))
    number = table.label if labels else np.zeros_like(table.label)
    evidence = table.evidence
    for _ in range(rounds if labels else 1):
        weights = _signed(table, evidence, offsets[number], weights, pinned)
        if labels:
            offsets = _offsets(table, _log_odds(table, evidence, weights), number, labels)
    words, slopes, silences = weights[1:-1].reshape(3, voters)
    return Fit(float(weights[0]), words, slopes, silences, float(weights[-1]), offsets[:labels])


def _signed(table: Table, evidence: Floats, offset: Floats, weights: Floats, pinned: Mask) -> Floats:
    """The best weights that have the signs that they must have; what tends to the other one is 0."""
    voters = table.said.shape[1]
    sign = np.r_[0, np.zeros(voters), np.ones(voters), -np.ones(voters), 0]
    held = pinned.copy()
    while True:
        weights = _scored(table, evidence, offset, weights, held)
        wrong = (weights * sign < 0) & ~held
        if not wrong.any():
            return weights
        held, weights = held | wrong, np.where(wrong, 0.0, weights)


def _scored(table: Table, evidence: Floats, offset: Floats, weights: Floats, held: Mask) -> Floats:
    """Fisher scoring with halved steps where a whole one would lose; what is `held` stays as it is.

    The power is bounded, and a step that the bound cuts may lead nowhere: then the others go on without it.
    """
    problem = _Problem(table, evidence, offset, _ridge(table.said.shape[1]))
    without_power = held.copy()
    without_power[-1] = True
    best = problem.likelihood(weights)
    for _ in range(_STEPS):
        tried = max((problem.stepped(weights, one) for one in (held, without_power)), key=problem.likelihood)
        gain = problem.likelihood(tried) - best
        if gain < _ENOUGH * len(table.true):
            break
        weights, best = tried, best + gain
    return weights


@dataclass(frozen=True, slots=True)
class _Problem:
    """The likelihood to climb: of examples with the offsets of their labels, less the penalty."""

    table: Table
    evidence: Floats
    offset: Floats
    ridge: Floats

    def likelihood(self, weights: Floats) -> float:
        log_odds = _log_odds(self.table, self.evidence, weights) + self.offset
        apart = weights - self._centre
        fitting = self.table.share @ (self.table.true * log_odds - np.logaddexp(0, log_odds))
        return float(fitting - apart @ self.ridge @ apart / 2)

    def stepped(self, weights: Floats, held: Mask) -> Floats:
        """One step further up, or as far as before."""
        step, best = self._step(weights, ~held), self.likelihood(weights)
        for halving in range(_HALVINGS):
            tried: Floats = weights + step / 2**halving
            tried[-1] = min(max(tried[-1], 0.0), 1.0)
            if self.likelihood(tried) > best:
                return tried
        return weights

    def _step(self, weights: Floats, free: Mask) -> Floats:
        chance = sigmoid(_log_odds(self.table, self.evidence, weights) + self.offset)
        slopes = _derivatives(self.table, self.evidence, weights)[:, free]
        missing = self.table.share * (self.table.true - chance)
        gradient = slopes.T @ missing - (self.ridge @ (weights - self._centre))[free]
        curvature = (slopes * (self.table.share * chance * (1 - chance))[:, None]).T @ slopes
        step = np.zeros(len(weights))
        step[free] = np.linalg.solve(curvature + self.ridge[np.ix_(free, free)], gradient)
        return step

    @property
    def _centre(self) -> Floats:
        """Where the penalty draws to: no weight, and the power that is expected."""
        centre = np.zeros(len(self.ridge))
        centre[-1] = _TOGETHER
        return centre


def _ridge(voters: int) -> Floats:
    """The penalty's matrix: voters around their mean."""
    kind = _TO_NOTHING * np.eye(voters) + _TO_AVERAGE * (np.eye(voters) - 1 / voters)
    size = 3 * voters
    ridge = np.zeros((size + 2, size + 2))
    ridge[0, 0], ridge[-1, -1] = _TO_NOTHING, _TO_TOGETHER
    ridge[1:-1, 1:-1] = np.kron(np.eye(3), kind)
    return ridge


def _log_odds(table: Table, evidence: Floats, weights: Floats) -> Floats:
    return np.asarray(weights[0] + table.heard ** -weights[-1] * (evidence @ weights[1:-1]))


def _derivatives(table: Table, evidence: Floats, weights: Floats) -> Floats:
    """Of the log-odds by each weight."""
    factor = table.heard ** -weights[-1]
    by_power = -np.log(table.heard) * factor * (evidence @ weights[1:-1])
    return np.hstack([np.ones((len(factor), 1)), evidence * factor[:, None], by_power[:, None]])


def _offsets(table: Table, log_odds: Floats, number: npt.NDArray[np.int64], labels: int) -> Floats:
    """What each label's log-odds are beside what the voters say, near 0 where there are few examples."""
    offsets = np.zeros(labels)
    for _ in range(_STEPS):
        chance = sigmoid(log_odds + offsets[number])
        gradient = np.bincount(number, table.share * (table.true - chance), labels) - _LABELS * offsets
        curvature = np.bincount(number, table.share * chance * (1 - chance), labels) + _LABELS
        step = np.clip(gradient / curvature, -1, 1)
        offsets += step
        if np.abs(step).max() < _ENOUGH:
            break
    return offsets
