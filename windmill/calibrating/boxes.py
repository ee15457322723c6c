"""How right detectors have been, learned from images of which it is known what they show (docs/merging.md).

In three steps, each with the rule's own arithmetic (`core.fusing`) on all images at once: how likely each
detector's boxes are right by themselves; how well it places them; and what agreement, rivals and silence are
worth. All is learned from random choices of the detectors, too, so that scores are right while some have not
reported yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from windmill.calibrating.found import Flags, Floats, Ints
from windmill.calibrating.judge import Judge
from windmill.calibrating.regression import Examples, Expected, logistic, mean_weights
from windmill.calibrating.table import LabelledImage, Table, columns
from windmill.core import fusing
from windmill.core.fusing import Clusters, Placed, Weights
from windmill.core.overlaps import pairs
from windmill.errors import ConfigError
from windmill.model import Detector, Detectors

DRAWS = 3  # random choices of each image's detectors, beside all of them
_PLACES = 4  # decimals: what is written and read again is the same
_TO_AVERAGE = 10.0  # 1 / variance of detectors around the average one, in log-odds
_TO_EXPECTED = 1.0  # the same of all other weights around what is expected

# What is expected of a detector: confidences in log-odds as they are, corners alike, silence worth a little.
_EXPECTED = Detector(right=-0.5, slope=1.0, place=0.0, place_slope=0.5, silent=-0.5, count=0)
_BIAS, _AGREEMENT, _OVERLAP = 1.0, 1.0, -5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideas:
    """Which ideas the calibration makes use of: all, unless one asks what each of them brings."""

    chances: bool = True  # a confidence means something else with each detector
    places: bool = True  # some detectors place their boxes better, and surer boxes are better placed
    rivals: bool = True  # a box that overlaps a surer one is doubtful
    silence: bool = True  # who knows a class and does not see it speaks against it
    each: bool = True  # what is learned differs by detector
    draws: bool = True  # learn from fewer detectors than there are, too


ALL = Ideas()


def learn(images: Sequence[LabelledImage], ideas: Ideas = ALL) -> Detectors:
    """The detectors of these images; of few images, little more than what is expected of any detector.

    Raises `ConfigError` where there is nothing to learn from.
    """
    table = columns(images, DRAWS if ideas.draws else 0)
    if not len(table.seen.logit) or not len(table.marked.objects):
        raise ConfigError("nothing to learn from: images without boxes, or without objects")
    judge = Judge(table.marked)
    apart = _weights(table, judge, ideas)
    alike = _weights(table, judge, replace(ideas, each=False))
    return _detectors(table, apart, alike)


def _weights(table: Table, judge: Judge, ideas: Ideas) -> Weights:
    weights = _expected(len(table.names))
    if ideas.chances:
        weights = _with_chances(table, judge, weights, ideas)
    chance = fusing.chances(table.seen, weights)
    found = fusing.clusters(table.seen, chance)
    if ideas.places:
        weights = _with_places(table, found, weights, chance, ideas)
    placed = fusing.placed(table.seen, found, chance, weights)
    return _with_scores(table, judge, placed, weights, ideas)


def _expected(services: int) -> Weights:
    """What detectors are taken to be before anything is known of them; confidences as they are."""
    return Weights(
        right=np.zeros(services),
        slope=np.ones(services),
        place=np.zeros(services),
        place_slope=np.zeros(services),
        silent=np.zeros(services),
        bias=_BIAS,
        agreement=_AGREEMENT,
        overlap=_OVERLAP,
    )


def _with_chances(table: Table, judge: Judge, weights: Weights, ideas: Ideas) -> Weights:
    """How likely boxes of each confidence are right: the share of COCO's ten IoUs at which they are.

    Each detector is fitted around what fits all of them together. No slope is negative (here the falling one
    is at most 0): who is surer is not less right.
    """
    right, counted = _judged(table, judge)
    seen = table.seen
    features = np.stack([np.ones(len(right)), -seen.logit], axis=1)

    def fitted(rows: Flags, around: Floats, ridge: float) -> Floats:
        expected = Expected(around, np.full(2, ridge), np.array([np.inf, 0.0]))
        return logistic(Examples(features[rows], right[rows]), expected)

    average = fitted(counted, np.array([_EXPECTED.right, -_EXPECTED.slope]), _TO_EXPECTED)
    own = [
        fitted(counted & (seen.service == n), average, _TO_AVERAGE) if ideas.each else average
        for n in range(len(table.names))
    ]
    learned = np.array(own)
    return replace(weights, right=learned[:, 0], slope=-learned[:, 1])


def _judged(table: Table, judge: Judge) -> tuple[Floats, Flags]:
    """Of each box how right it is by itself, from 0 to 1, and whether it counts."""
    seen = table.seen
    right, counted = np.zeros(len(seen.logit)), np.zeros(len(seen.logit), bool)
    for number in range(len(table.names)):
        rows = np.flatnonzero(seen.service == number)
        matches = judge.match(table.found(seen.corners[rows], seen.group[rows], seen.logit[rows]))
        right[rows[matches.place]] = matches.right.mean(axis=0)
        counted[rows[matches.place]] = ~matches.ignored[0]
    return right, counted


def _with_places(table: Table, found: Clusters, weights: Weights, chance: Floats, ideas: Ideas) -> Weights:
    """By which weights the corners of clusters come nearest to those of the objects."""
    parts = _Parts.of(table, found, fusing.placed(table.seen, found, chance, weights))
    services = len(table.names)
    each = services if ideas.each else 1
    features = np.zeros((*parts.present.shape, 2 * each))
    mean, part = np.nonzero(parts.present)
    row = parts.row[mean, part]
    own = table.seen.service[row] if ideas.each else np.zeros(len(row), np.int64)
    features[mean, part, own] = 1.0
    features[mean, part, each + own] = fusing.sharpness(table.seen.logit[row])
    expected = np.repeat([_EXPECTED.place, _EXPECTED.place_slope], each)
    learned = mean_weights(parts.errors, features, parts.present, expected, _TO_EXPECTED)
    place, slope = learned[:each] - learned[:each].mean(), learned[each:]
    return replace(
        weights, place=np.broadcast_to(place, services), place_slope=np.broadcast_to(slope, services)
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Clusters of several boxes on an object: of each part its row, and its corners' errors, as shares of the
    object's sides."""

    row: Ints
    present: Floats
    errors: Floats

    @classmethod
    def of(cls, table: Table, found: Clusters, placed: Placed) -> _Parts:
        thing = _nearest(table, found, placed)
        members = np.bincount(found.cluster, minlength=len(found.leader))
        used = np.flatnonzero((thing >= 0) & (members > 1))
        number = np.full(len(found.leader), -1)
        number[used] = np.arange(len(used))
        rows = np.flatnonzero(number[found.cluster] >= 0)
        rows = rows[np.argsort(number[found.cluster[rows]], kind="stable")]
        mean = number[found.cluster[rows]]
        part = np.arange(len(rows)) - np.searchsorted(mean, mean)
        shape = (len(used), int(part.max(initial=0)) + 1)
        row, present, errors = np.zeros(shape, np.int64), np.zeros(shape), np.zeros((*shape, 4))
        row[mean, part], present[mean, part] = rows, 1.0
        objects = table.marked.objects.box[thing[used][mean]]
        sides = np.maximum(np.tile(objects[:, 2:], 2), 1.0)
        true = np.hstack([objects[:, :2], objects[:, :2] + objects[:, 2:]])
        errors[mean, part] = (table.seen.corners[rows] - true) / sides
        return cls(row, present, errors)


def _nearest(table: Table, found: Clusters, placed: Placed) -> Ints:
    """Of each cluster the object that it overlaps most, from an IoU of one half; -1 if there is none."""
    objects = table.marked.objects.where(~table.marked.crowd)
    group = objects.image * table.marked.categories + objects.category
    true = np.hstack([objects.box[:, :2], objects.box[:, :2] + objects.box[:, 2:]])
    count = len(found.leader)
    own = table.seen.group[found.leader]
    one, other, overlap = pairs(np.vstack([placed.corners, true]), np.concatenate([own, group]), 0.5)
    cluster, thing = np.minimum(one, other), np.maximum(one, other) - count
    mixed = (cluster < count) & (thing >= 0)
    order = np.argsort(overlap[mixed], kind="stable")  # the largest comes last, and stays
    nearest = np.full(count, -1)
    nearest[cluster[mixed][order]] = np.flatnonzero(~table.marked.crowd)[thing[mixed][order]]
    return nearest


def _with_scores(table: Table, judge: Judge, placed: Placed, weights: Weights, ideas: Ideas) -> Weights:
    """What agreement, rivals and silence are worth: by which log-odds clusters are right at an IoU of 0.5."""
    found, services = placed.clusters, len(table.names)
    group = table.seen.group[found.leader]
    contested = fusing.contested(table.seen, placed, table.knows)
    silent = table.knows[:, group].T.astype(float)
    silent[found.cluster, table.seen.service] = 0.0
    overlap = np.where(contested, placed.overlap, 0.0) ** 2 * ideas.rivals
    kinds = silent if ideas.each else silent.sum(axis=1, keepdims=True)
    features = np.column_stack([np.ones(len(group)), -placed.log_odds, overlap, kinds * ideas.silence])
    matches = judge.match(table.found(placed.corners, group, placed.log_odds + _OVERLAP * overlap))
    rows = matches.place[~matches.ignored[0]]
    right = matches.right[0, ~matches.ignored[0]].astype(float)
    many = kinds.shape[1]
    expected = Expected(
        weights=np.array([_BIAS, -_AGREEMENT, _OVERLAP, *np.full(many, _EXPECTED.silent)]),
        ridge=np.array([_TO_EXPECTED, _TO_EXPECTED, _TO_EXPECTED, *np.full(many, _TO_AVERAGE)]),
        most=np.array([np.inf, 0.0, 0.0, *np.zeros(many)]),
    )
    learned = logistic(Examples(features[rows], right), expected)
    bias, agreement, doubt, *silences = learned.tolist()
    return replace(
        weights,
        bias=bias,
        agreement=-agreement,
        overlap=doubt * ideas.rivals,
        silent=np.broadcast_to(np.array(silences) * ideas.silence, services),
    )


def _detectors(table: Table, weights: Weights, alike: Weights) -> Detectors:
    """The weights by name, rounded as they are written. The average detector is what is learned when nobody
    tells them apart."""
    of_all = table.seen.group < table.whole * table.marked.categories
    counts = np.bincount(table.seen.service[of_all], minlength=len(table.names))
    known = {name: _detector(weights, n, counts[n]) for n, name in enumerate(table.names)}
    return Detectors(
        bias=round(weights.bias, _PLACES),
        agreement=round(weights.agreement, _PLACES) + 0.0,
        overlap=round(weights.overlap, _PLACES),
        average=_detector(alike, 0, counts.sum()),
        known=known,
    )


def _detector(weights: Weights, number: int, count: int) -> Detector:
    columns = (weights.right, weights.slope, weights.place, weights.place_slope, weights.silent)
    right, slope, place, place_slope, silent = (round(float(one[number]), _PLACES) + 0.0 for one in columns)
    return Detector(
        right=right, slope=slope, place=place, place_slope=place_slope, silent=silent, count=int(count)
    )
