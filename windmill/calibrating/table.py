"""Labelled images as columns of numbers, so that the rule's arithmetic is done for all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from windmill.calibrating.found import Flags, Floats, Found, Ints, Marked
from windmill.core import fusing
from windmill.core.fusing import Sightings
from windmill.model import Detection, StoredReply


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """The replies about an image, and what is on it. In `crowds` nobody marked the single objects."""

    replies: tuple[StoredReply, ...]
    truth: tuple[Detection, ...]
    crowds: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Boxes of all draws of all images; the first `whole` images are those with all replies.

    A group is a class of an image of a draw, `knows` is service × group.
    """

    names: Sequence[str]
    seen: Sightings
    knows: Flags
    marked: Marked
    whole: int

    def found(self, corners: Floats, group: Ints, score: Floats) -> Found:
        sides = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        return Found(group // self.marked.categories, group % self.marked.categories, score, sides)


def columns(images: Sequence[LabelledImage], draws: int) -> Table:
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
    return Table(names, _sightings(rows), knows, _marked([one for one, _ in chosen], classes), len(images))


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
