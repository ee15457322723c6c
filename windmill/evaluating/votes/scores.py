"""Figures of labels: average precision, F1, calibration error; each with what other images might have given.

Arrays are images × labels. A score of −∞ stands for a label that was not named. Draws are how often each
image is in each bootstrap sample: draws × images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Labels of about the same probability: how many, what was said on average, the share that is true."""

    count: int
    said: float
    true: float


def draws(images: int, count: int) -> Floats:
    """The images as they are, and `count` bootstrap samples of them, always the same ones."""
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(images, np.full(images, 1 / images), size=count)
    return np.vstack([np.ones(images), drawn]).astype(float)


def mean_average_precision(score: Floats, truth: Mask, drawn: Floats) -> Floats:
    """For each draw, the mean over all labels that are true somewhere: area under precision over recall."""
    every = [micro_average_precision(score[:, [n]], truth[:, [n]], drawn)
             for n in np.flatnonzero(truth.any(axis=0))]  # fmt: skip
    return np.asarray(np.nanmean(np.array(every), axis=0))


def micro_average_precision(score: Floats, truth: Mask, drawn: Floats) -> Floats:
    """For each draw, the same of all labels in one list; NaN where nothing is true.

    What has the same score comes all at once.
    """
    image, label = np.nonzero(score > -np.inf)
    order = np.argsort(-score[image, label], kind="stable")
    image, label = image[order], label[order]
    sorted_score, weight = score[image, label], drawn[:, image]
    last = np.append(sorted_score[1:] != sorted_score[:-1], True)[: len(order)]
    hits = np.cumsum(weight * truth[image, label], axis=1)[:, last]
    told = np.cumsum(weight, axis=1)[:, last]
    there = drawn @ truth.sum(axis=1)
    area = (np.diff(hits, axis=1, prepend=0) * hits / np.maximum(told, 1)).sum(axis=1)
    return np.where(there > 0, area / np.maximum(there, 1), np.nan)


def f1(chosen: Mask, truth: Mask) -> Floats:
    """Of each image: 1 where nothing is to be said and nothing is."""
    both, either = (chosen & truth).sum(1), chosen.sum(1) + truth.sum(1)
    return np.where(either > 0, 2 * both / np.maximum(1, either), 1.0)


def reliability(probability: Floats, truth: Mask) -> list[Bin]:
    """Named labels by probability, in `BINS` bins of one size."""
    return [
        Bin(len(own), float(probability[own].mean()), float(truth[own].mean()))
        for own in np.array_split(np.argsort(probability, kind="stable"), BINS)
        if len(own)
    ]


def calibration_error(probability: Floats, truth: Mask) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015): how far what was said is from what is true."""
    bins = reliability(probability, truth)
    return sum(one.count * abs(one.said - one.true) for one in bins) / max(1, len(probability))


def log_loss(probability: Floats, truth: Mask) -> float:
    """Mean surprise, in nats: 0.69 for someone who always says one half."""
    kept = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(truth, kept, 1 - kept)).mean())
