"""Two small fits, both drawn to what is expected by a ridge, so that few examples change little."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_STEPS, _ENOUGH = 60, 1e-9  # of a fit; its gain by an example that is none
_FINEST = 0.01  # an error of a corner, as a share of the box's side, below which errors are alike


@dataclass(frozen=True, slots=True)
class Examples:
    """What is true of whom: `features` example × weight, `true` from 0 to 1."""

    features: Floats
    true: Floats


@dataclass(frozen=True, slots=True)
class Expected:
    """What the weights are drawn to, by `ridge`, which is 1 / variance; none may be above `most`."""

    weights: Floats
    ridge: Floats
    most: Floats


def logistic(examples: Examples, expected: Expected) -> Floats:
    """The weights under which the examples are likeliest: logistic regression by Newton's method.

    A weight that tends above what it may be is held there, and the others are fitted again.
    """
    weights, held = np.minimum(expected.weights, expected.most), np.zeros(len(expected.weights), bool)
    while True:
        weights = _newton(examples, expected, weights, ~held)
        above = (weights > expected.most) & ~held
        if not above.any():
            return weights
        held |= above
        weights[above] = expected.most[above]


def _newton(examples: Examples, expected: Expected, weights: Floats, free: Flags) -> Floats:
    """Whole steps where they lead uphill, halved ones where they would lead too far."""
    best = _likelihood(examples, expected, weights)
    for _ in range(_STEPS):
        step = _step(examples, expected, weights, free)
        tried, likelihood = weights + step, _likelihood(examples, expected, weights + step)
        while likelihood < best and np.abs(step).max() > _ENOUGH:
            step = step / 2
            tried, likelihood = weights + step, _likelihood(examples, expected, weights + step)
        if likelihood - best < _ENOUGH * len(examples.true):
            return tried if likelihood > best else weights
        weights, best = tried, likelihood
    return weights


def _step(examples: Examples, expected: Expected, weights: Floats, free: Flags) -> Floats:
    features = examples.features
    chance = sigmoid(features @ weights)
    gradient = features.T @ (examples.true - chance) - expected.ridge * (weights - expected.weights)
    curvature = (features * (chance * (1 - chance))[:, None]).T @ features + np.diag(expected.ridge)
    step = np.zeros(len(weights))
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
    return step


def sigmoid(log_odds: Floats) -> Floats:
    """Probabilities, without overflow however large the log-odds are."""
    return np.asarray(np.exp(-np.logaddexp(0, -log_odds)))


def _likelihood(examples: Examples, expected: Expected, weights: Floats) -> float:
    log_odds = examples.features @ weights
    apart = weights - expected.weights
    fitting = examples.true @ log_odds - np.logaddexp(0, log_odds).sum()
    return float(fitting - expected.ridge @ apart**2 / 2)


def mean_weights(errors: Floats, features: Floats, present: Floats, expected: Floats, ridge: float) -> Floats:
    """Log-linear weights of a mean under which the mean's errors are smallest in absolute value.

    `errors`: mean × part × error; `features`: mean × part × weight; `present`: mean × part, 1 or 0. Each mean
    weighs its parts by exp(features · weights), so its error is the weighted mean of theirs. Gauss-Newton on
    squares that are weighed anew in each step (iteratively reweighted least squares), `ridge` around
    `expected`.
    """
    weights = expected.copy()
    for _ in range(_STEPS):
        parts = np.where(present > 0, features @ weights, -np.inf)
        share = np.exp(parts - parts.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        error = np.einsum("mp,mpe->me", share, errors)
        apart = share[:, :, None] * (errors - error[:, None])
        slope = np.einsum("mpe,mpw->mew", apart, features).reshape(-1, len(weights))
        count = 1 / np.maximum(np.abs(error), _FINEST).ravel()
        curvature = (slope * count[:, None]).T @ slope + ridge * np.eye(len(weights))
        gradient = slope.T @ (count * error.ravel()) + ridge * (weights - expected)
        step = np.clip(np.linalg.solve(curvature, gradient), -1, 1)
        weights = weights - step
        if np.abs(step).max() < 1e-4:
            break
    return weights
