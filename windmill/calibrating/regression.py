"""Two small fits, both drawn to what is expected by a ridge, so that few examples change little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS, _ENOUGH = 60, 1e-7
_FINEST = 0.01  # an error of a corner, as a share of the box's side, below which errors are alike


def logistic(
    features: Floats, true: Floats, expected: Floats, ridge: Floats, share: Floats, most: Floats
) -> Floats:
    """The weights under which `true` (from 0 to 1) is likeliest: logistic regression by Newton's method.

    `ridge` is 1 / variance of each weight around the `expected` one, `share` how much an example counts, and
    no weight is above `most`: one that tends there is held there, and the others fitted again.
    """
    weights, held = np.minimum(expected, most), np.zeros(len(expected), bool)
    while True:
        weights = _newton(features, true, expected, ridge, share, weights, held)
        above = (weights > most) & ~held
        if not above.any():
            return weights
        held |= above
        weights[above] = most[above]


def _newton(
    features: Floats,
    true: Floats,
    expected: Floats,
    ridge: Floats,
    share: Floats,
    weights: Floats,
    held: NDArray[np.bool_],
) -> Floats:
    free, weights = ~held, weights.copy()
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        gradient = features.T @ (share * (true - chance)) - ridge * (weights - expected)
        spread = share * np.maximum(chance * (1 - chance), 1e-6)
        curvature = (features * spread[:, None]).T @ features + np.diag(ridge)
        step = np.clip(np.linalg.solve(curvature[np.ix_(free, free)], gradient[free]), -2, 2)
        weights[free] += step
        if np.abs(step).max(initial=0.0) < _ENOUGH:
            break
    return weights


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
