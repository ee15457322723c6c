"""Which boxes are right, as COCO's evaluation decides it, for all images at once.

The matching and the average precision of pycocotools' `COCOeval` (100 boxes of a class and image at most,
objects of any size, crowds ignored) in numpy: hundreds of merges are compared, and resampling images needs
the matches. The tables' AP is pycocotools' own (`official`); tests hold the two equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windmill.calibrating.found import Flags, Floats, Found, Ints, Marked

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoUs from which a box is right
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # boxes of a class and image that count


@dataclass(frozen=True, slots=True)
class Matches:
    """Boxes by falling score; `right` and `ignored` have a row for each of `THRESHOLDS`.

    `place` is where each box stood in what was matched.
    """

    place: Ints
    image: Ints
    category: Ints
    score: Floats
    right: Flags
    ignored: Flags


@dataclass(frozen=True, slots=True)
class Precision:
    """Average precision, mean over classes: over all `THRESHOLDS`, at 0.5 and at 0.75."""

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True, slots=True)
class Point:
    """Stored boxes at IoU 0.5: shares of boxes that are right, of objects found, their harmonic mean."""

    precision: float
    recall: float
    f1: float
    threshold: float = 0.0


class Judge:
    """Holds what is found on images against what is there."""

    def __init__(self, marked: Marked) -> None:
        self._images, self._categories = marked.images, marked.categories
        order = np.argsort(marked.crowd, kind="stable")  # as in COCOeval: crowds are looked at last
        self._truth, self._crowd = marked.objects.where(order), marked.crowd[order]
        self._group = self._truth.image * self._categories + self._truth.category
        self._by_group = np.argsort(self._group, kind="stable")
        objects = self._truth.where(~self._crowd)
        self._objects = np.zeros((self._categories, self._images))
        np.add.at(self._objects, (objects.category, objects.image), 1)

    def match(self, found: Found) -> Matches:
        """Each box, best first, takes the free object that it overlaps most."""
        place = self._kept(found)
        kept = found.where(place)
        group = kept.image * self._categories + kept.category
        box, thing, iou = self._overlaps(kept, group)
        right = np.zeros((len(THRESHOLDS), len(kept)), dtype=np.bool_)
        ignored = np.zeros_like(right)
        taken = np.zeros((len(THRESHOLDS), len(self._group)), dtype=np.bool_)
        rank = _places_in(group)[box]
        for turn in range(int(rank.max(initial=-1)) + 1):
            now = np.flatnonzero(rank == turn)
            self._take(box[now], thing[now], iou[now], right, ignored, taken)
        order = np.argsort(-kept.score, kind="stable")
        ordered = kept.where(order)
        return Matches(
            place[order],
            ordered.image,
            ordered.category,
            ordered.score,
            right[:, order],
            ignored[:, order],
        )

    def _kept(self, found: Found) -> Ints:
        """Places of the boxes by image and class, best first; no more of them than count."""
        order = np.lexsort((-found.score, found.category, found.image))
        group = found.image[order] * self._categories + found.category[order]
        kept: Ints = order[_places_in(group) < MOST]
        return kept

    def _overlaps(self, kept: Found, group: Ints) -> tuple[Ints, Ints, Floats]:
        """Boxes and objects of one class and image that overlap enough, an object's rivals best first."""
        first = np.searchsorted(self._group[self._by_group], group, side="left")
        many = np.searchsorted(self._group[self._by_group], group, side="right") - first
        box = np.repeat(np.arange(len(kept)), many)
        place = np.arange(len(box)) - np.repeat(np.cumsum(many) - many, many)
        thing = self._by_group[np.repeat(first, many) + place]
        iou = overlaps(kept.box[box], self._truth.box[thing], self._crowd[thing])
        near = iou >= THRESHOLDS[0]
        box, thing, iou = box[near], thing[near], iou[near]
        order = np.lexsort((-thing, -iou, self._crowd[thing], box))  # COCOeval: of equals the last one
        return box[order], thing[order], iou[order]

    def _take(self, box: Ints, thing: Ints, iou: Floats, right: Flags, ignored: Flags, taken: Flags) -> None:
        """One box of each class and image takes the first of its objects that is still to be had."""
        free = (iou >= THRESHOLDS[:, None]) & (~taken[:, thing] | self._crowd[thing])
        starts = np.flatnonzero(np.diff(box, prepend=-1))
        choice = np.where(free, np.arange(len(box)), len(box))
        first = np.minimum.reduceat(choice, starts, axis=1)
        threshold, which = np.nonzero(first < len(box))
        chosen = first[threshold, which]
        taken[threshold, thing[chosen]] = True
        crowd = self._crowd[thing[chosen]]
        right[threshold, box[chosen]] = ~crowd
        ignored[threshold, box[chosen]] = crowd

    def precision(self, matches: Matches, weights: Floats | None = None) -> Precision:
        """Average precision, with each image counted as often as `weights` says."""
        often = np.ones(self._images) if weights is None else weights
        objects = self._objects @ often
        known = np.flatnonzero(objects > 0)
        order = np.argsort(matches.category, kind="stable")
        ends = np.searchsorted(matches.category[order], np.arange(self._categories + 1))
        table = np.zeros((len(known), len(THRESHOLDS)))
        for row, category in enumerate(known):
            mine = order[ends[category] : ends[category + 1]]
            counted = ~matches.ignored[:, mine] * often[matches.image[mine]]
            table[row] = _average(matches.right[:, mine], counted, float(objects[category]))
        means = table.mean(axis=0) if len(known) else np.zeros(len(THRESHOLDS))
        return Precision(float(means.mean()), float(means[0]), float(means[5]))

    def best_point(self, matches: Matches) -> Point:
        """The best F1 that a threshold on the score gives, among all scores that occur."""
        last = np.flatnonzero(np.diff(matches.score, append=-1.0))  # of those with one score
        if not len(last):
            return Point(0.0, 0.0, 0.0)
        right = np.cumsum(matches.right[0])[last]
        told = np.cumsum(~matches.ignored[0])[last]
        objects = self._objects.sum()
        best = int(np.argmax(right / (told + objects)))
        return _point(right[best], told[best], objects, matches.score[last[best]])

    def point(self, matches: Matches, weights: Floats | None = None) -> Point:
        """All boxes, whatever their score, with each image counted as often as `weights` says."""
        often = np.ones(self._images) if weights is None else weights
        times = often[matches.image]
        right, told = times @ matches.right[0], times @ ~matches.ignored[0]
        return _point(right, told, (self._objects @ often).sum(), matches.score.min(initial=1.0))


def overlaps(a: Floats, b: Floats, crowd: Flags) -> Floats:
    """IoU of boxes (x, y, width, height) row by row; with a crowd the share of `a` that is in it, as in COCO.

    0 where they do not touch. The order of operations is that of COCO's `bbIou`: thresholds decide.
    """
    width = np.minimum(a[:, 0] + a[:, 2], b[:, 0] + b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 1] + a[:, 3], b[:, 1] + b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    common = np.maximum(width, 0) * np.maximum(height, 0)
    area = a[:, 2] * a[:, 3]
    union = np.where(crowd, area, area + b[:, 2] * b[:, 3] - common)
    iou: Floats = np.divide(common, union, out=np.zeros_like(common), where=common > 0)
    return iou


def _point(right: float, told: float, objects: float, threshold: float) -> Point:
    """0 where there is nothing to divide by."""
    shares = right / max(1.0, told), right / max(1.0, objects), 2 * right / max(1.0, told + objects)
    precision, recall, f1 = map(float, shares)
    return Point(precision, recall, f1, float(threshold))


def _places_in(group: Ints) -> Ints:
    """For sorted numbers of groups, each one's place in its group."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))


def _average(right: Flags, counted: Floats, objects: float) -> Floats:
    """Average precision at each threshold: the mean over `RECALLS` of the best precision from there on."""
    hits = np.cumsum(right * counted, axis=1)
    boxes = np.cumsum(counted, axis=1)
    precision = hits / (boxes + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([envelope, np.zeros((len(envelope), 1))], axis=1)
    recall = hits / objects
    return np.array(
        [padded[n, np.searchsorted(recall[n], RECALLS, side="left")].mean() for n in range(len(recall))]
    )
