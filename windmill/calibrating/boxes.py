"""How right detectors have been, learned from images of which it is known what they show (docs/merging.md).

In three steps, each with the rule's own arithmetic (`core.fusing`) on all images at once: how likely each
detector's boxes are right by themselves; how well it places them; and what agreement, rivals and silence are
worth. All is learned from random choices of the detectors, too, so that scores are right while some have not
reported yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from windmill.calibrating.found import Flags, Floats, Found, Ints, Marked
from windmill.calibrating.judge import Judge
from windmill.calibrating.regression import logistic, mean_weights
from windmill.core import fusing
from windmill.core.fusing import Clusters, Placed, Sightings, Weights
from windmill.core.overlaps import pairs
from windmill.errors import ConfigError
from windmill.model import Detection, Detector, Detectors, StoredReply

DRAWS = 3  # random choices of each image's detectors, beside all of them
_FEWEST = 20  # boxes that are right, and as many wrong ones, without which nothing can be learned
_PLACES = 4  # decimals: what is written and read again is the same
_TO_AVERAGE = 10.0  # 1 / variance of detectors around the average one, in log-odds
_TO_EXPECTED = 1.0  # the same of all other weights around what is expected

# What is expected of a detector: confidences in log-odds as they are, corners alike, silence worth a little.
_EXPECTED = Detector(right=-0.5, slope=1.0, place=0.0, place_slope=0.5, silent=-0.5, count=0)
_BIAS, _AGREEMENT, _OVERLAP = 1.0, 1.0, -5.0


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """The replies about an image, and what is on it. In `crowds` nobody marked the single objects."""

    replies: tuple[StoredReply, ...]
    truth: tuple[Detection, ...]
    crowds: tuple[Detection, ...] = ()


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


@dataclass(frozen=True, slots=True)
class _Table:
    """Boxes of all draws of all images. A group is a class of an image of a draw, `knows` service × group."""

    names: Sequence[str]
    seen: Sightings
    knows: Flags
    marked: Marked

    def found(self, corners: Floats, group: Ints, score: Floats) -> Found:
        sides = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        return Found(group // self.marked.categories, group % self.marked.categories, score, sides)


def learn(images: Sequence[LabelledImage], ideas: Ideas = ALL) -> Detectors:
    """The detectors of these images. Raises `ConfigError` where there is too little to learn from."""
    table = _table(images, DRAWS if ideas.draws else 0)
    judge = Judge(table.marked)
    weights = _expected(len(table.names))
    if ideas.chances:
        weights = _with_chances(table, judge, weights, ideas)
    chance = fusing.chances(table.seen, weights)
    found = fusing.clusters(table.seen, chance)
    if ideas.places:
        weights = _with_places(table, found, weights, chance, ideas)
    placed = fusing.placed(table.seen, found, chance, weights)
    weights = _with_scores(table, judge, placed, weights, ideas)
    return _detectors(table, weights)


def _table(images: Sequence[LabelledImage], draws: int) -> _Table:
    """All draws: first of all replies, then of some, chosen by a random sequence that is always the same."""
    chance = np.random.default_rng(0)
    chosen: list[tuple[LabelledImage, Sequence[StoredReply]]] = [(one, one.replies) for one in images]
    for _ in range(draws):
        chosen += [(one, _some(one.replies, chance)) for one in images if len(one.replies) > 1]
    names = sorted({stored.reply.service for one in images for stored in one.replies})
    service = {name: number for number, name in enumerate(names)}
    classes = _classes(images)
    told = [
        (service[stored.reply.service], image * len(classes), stored.reply)
        for image, (_, replies) in enumerate(chosen)
        for stored in replies
    ]
    knows = np.zeros((len(names), len(chosen) * len(classes)), bool)
    for number, start, reply in told:
        knows[number, [start + classes[name] for name in reply.knows or () if name in classes]] = True
    rows = [row for number, start, reply in told for row in _rows(number, start, reply.detections, classes)]
    return _Table(names, _sightings(rows), knows, _marked([one for one, _ in chosen], classes))


def _some(replies: Sequence[StoredReply], chance: np.random.Generator) -> Sequence[StoredReply]:
    """Some of the replies, but not all."""
    number = chance.integers(1, len(replies))
    return [replies[n] for n in sorted(chance.permutation(len(replies))[:number])]


def _classes(images: Iterable[LabelledImage]) -> Mapping[str, int]:
    """A number for each class that anybody names or that is there."""
    named = {one.class_name for image in images for one in (*image.truth, *image.crowds)}
    for image in images:
        named |= {one.class_name for stored in image.replies for one in stored.reply.detections}
    return {name: number for number, name in enumerate(sorted(named))}


_Row = tuple[float, float, float, float, float, float, float]  # service, group, confidence, place


def _rows(
    number: int, start: int, detections: Iterable[Detection], classes: Mapping[str, int]
) -> Iterator[_Row]:
    for one in detections:
        if (box := one.box) is not None:
            group = start + classes[one.class_name]
            yield number, group, one.confidence, box.x, box.y, box.width, box.height


def _columns(rows: Sequence[_Row]) -> Floats:
    return np.array(rows, float).reshape(-1, 7)


def _sightings(rows: Sequence[_Row]) -> Sightings:
    columns = _columns(rows)
    return Sightings(
        corners=np.hstack([columns[:, 3:5], columns[:, 3:5] + columns[:, 5:7]]),
        logit=fusing.logit(columns[:, 2]),
        service=columns[:, 0].astype(np.int64),
        group=columns[:, 1].astype(np.int64),
    )


def _marked(images: Sequence[LabelledImage], classes: Mapping[str, int]) -> Marked:
    rows: list[_Row] = []
    for crowded in (0, 1):
        for image, one in enumerate(images):
            rows += _rows(crowded, image * len(classes), one.crowds if crowded else one.truth, classes)
    columns = _columns(rows)
    group = columns[:, 1].astype(np.int64)
    many = max(1, len(classes))
    objects = Found(group // many, group % many, np.ones(len(rows)), columns[:, 3:])
    return Marked(len(images), many, objects, columns[:, 0] > 0)


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


def _with_chances(table: _Table, judge: Judge, weights: Weights, ideas: Ideas) -> Weights:
    """How likely boxes of each confidence are right: the share of COCO's ten IoUs at which they are.

    Each detector is fitted around what fits all of them together.
    """
    right, counted = _judged(table, judge)
    seen = table.seen
    features = np.stack([np.ones(len(right)), seen.logit], axis=1)
    expected = np.array([_EXPECTED.right, _EXPECTED.slope])
    no_bound = np.full(2, np.inf)

    def fitted(rows: Flags, around: Floats, ridge: float) -> Floats:
        share = np.ones(int(rows.sum()))
        return logistic(features[rows], right[rows], around, np.full(2, ridge), share, no_bound)

    average = fitted(counted, expected, _TO_EXPECTED)
    own = [
        fitted(counted & (seen.service == n), average, _TO_AVERAGE) if ideas.each else average
        for n in range(len(table.names))
    ]
    learned = np.array(own)
    return replace(weights, right=learned[:, 0], slope=learned[:, 1])


def _judged(table: _Table, judge: Judge) -> tuple[Floats, Flags]:
    """Of each box how right it is by itself, from 0 to 1, and whether it counts."""
    seen = table.seen
    right, counted = np.zeros(len(seen.logit)), np.zeros(len(seen.logit), bool)
    for number in range(len(table.names)):
        rows = np.flatnonzero(seen.service == number)
        matches = judge.match(table.found(seen.corners[rows], seen.group[rows], seen.logit[rows]))
        right[rows[matches.place]] = matches.right.mean(axis=0)
        counted[rows[matches.place]] = ~matches.ignored[0]
    if min((right[counted] > 0).sum(), (right[counted] == 0).sum()) < _FEWEST:
        raise ConfigError(f"too little to learn from: fewer than {_FEWEST} boxes that are right, or wrong")
    return right, counted


def _with_places(table: _Table, found: Clusters, weights: Weights, chance: Floats, ideas: Ideas) -> Weights:
    """By which weights the corners of clusters come nearest to those of the objects."""
    parts = _Parts.of(table, found, fusing.placed(table.seen, found, chance, weights))
    services = len(table.names)
    each = services if ideas.each else 1
    features = np.zeros((*parts.present.shape, 2 * each))
    mean, part = np.nonzero(parts.present)
    row = parts.row[mean, part]
    own = table.seen.service[row] if ideas.each else np.zeros(len(row), np.int64)
    features[mean, part, own] = 1.0
    features[mean, part, each + own] = table.seen.logit[row]
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
    def of(cls, table: _Table, found: Clusters, placed: Placed) -> _Parts:
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


def _nearest(table: _Table, found: Clusters, placed: Placed) -> Ints:
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


def _with_scores(table: _Table, judge: Judge, placed: Placed, weights: Weights, ideas: Ideas) -> Weights:
    """What agreement, rivals and silence are worth: by which log-odds clusters are right at an IoU of 0.5."""
    found, services = placed.clusters, len(table.names)
    group = table.seen.group[found.leader]
    able = table.knows.copy()
    able[table.seen.service, table.seen.group] = True
    contested = (able.sum(axis=0) > 1)[group]
    silent = table.knows[:, group].T.astype(float)
    silent[found.cluster, table.seen.service] = 0.0
    overlap = np.where(contested, placed.overlap, 0.0) ** 2 * ideas.rivals
    kinds = silent if ideas.each else silent.sum(axis=1, keepdims=True)
    features = np.column_stack([np.ones(len(group)), placed.log_odds, overlap, kinds * ideas.silence])
    matches = judge.match(table.found(placed.corners, group, placed.log_odds + _OVERLAP * overlap))
    rows = matches.place[~matches.ignored[0]]
    many = kinds.shape[1]
    learned = logistic(
        features[rows],
        matches.right[0, ~matches.ignored[0]].astype(float),
        expected=np.array([_BIAS, _AGREEMENT, _OVERLAP, *np.full(many, _EXPECTED.silent)]),
        ridge=np.array([_TO_EXPECTED, _TO_EXPECTED, _TO_EXPECTED, *np.full(many, _TO_AVERAGE)]),
        share=np.ones(len(rows)),
        most=np.array([np.inf, np.inf, 0.0, *np.zeros(many)]),
    )
    bias, agreement, doubt, *silences = learned.tolist()
    return replace(
        weights,
        bias=bias,
        agreement=agreement,
        overlap=doubt * ideas.rivals,
        silent=np.broadcast_to(np.array(silences) * ideas.silence, services),
    )


def _detectors(table: _Table, weights: Weights) -> Detectors:
    """The weights by name, rounded as they are written; the average detector is the mean of them."""
    counts = np.bincount(table.seen.service, minlength=len(table.names))
    columns = [weights.right, weights.slope, weights.place, weights.place_slope, weights.silent]
    known = {name: _detector([one[n] for one in columns], counts[n]) for n, name in enumerate(table.names)}
    return Detectors(
        bias=round(weights.bias, _PLACES),
        agreement=round(weights.agreement, _PLACES),
        overlap=round(weights.overlap, _PLACES),
        average=_detector([one.mean() for one in columns], counts.sum()),
        known=known,
    )


def _detector(numbers: Sequence[float], count: int) -> Detector:
    right, slope, place, place_slope, silent = (round(float(one), _PLACES) + 0.0 for one in numbers)
    return Detector(
        right=right, slope=slope, place=place, place_slope=place_slope, silent=silent, count=int(count)
    )
