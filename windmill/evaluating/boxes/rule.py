"""Windmill's own rule as the evaluation sees it, and images as the rule sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from windmill.calibrating import boxes
from windmill.calibrating.boxes import Ideas
from windmill.calibrating.found import Found
from windmill.calibrating.table import LabelledImage
from windmill.core import merging
from windmill.evaluating.boxes.folder import Source
from windmill.model import Box, Detection, Detectors, MergedBox, ServiceReply, StoredReply

_THEN = datetime(2000, 1, 1, tzinfo=UTC)  # when replies came is no part of a merge


@dataclass(frozen=True, slots=True)
class Merged:
    """What a rule makes of an image: `candidates` on which AP is judged, and what is `stored` of them."""

    candidates: Sequence[MergedBox]
    stored: Sequence[MergedBox]


class Rule(Protocol):
    """A way of merging: what it learns from some images, it uses on others."""

    def learn(self, images: Sequence[LabelledImage]) -> Any: ...

    def merge(self, replies: Sequence[StoredReply], learned: Any) -> Merged: ...


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a user gets who calibrated these detectors on images of the same kind; `ideas` leaves some out."""

    ideas: Ideas = boxes.ALL

    def learn(self, images: Sequence[LabelledImage]) -> Detectors:
        return boxes.learn(images, self.ideas)

    def merge(self, replies: Sequence[StoredReply], learned: Detectors) -> Merged:
        return Merged(merging.candidates(replies, learned), merging.merge(replies, learned))


RULES: Mapping[str, Rule] = {"Windmill": Calibrated()}  # the first is the one that a user gets

# What each idea brings: the same rule without it.
ABLATED: Mapping[str, Rule] = {
    "each as the average detector": Calibrated(replace(boxes.ALL, each=False)),
    "confidences as they are": Calibrated(replace(boxes.ALL, chances=False)),
    "corners by their plain mean": Calibrated(replace(boxes.ALL, places=False)),
    "no doubt for overlaps": Calibrated(replace(boxes.ALL, rivals=False)),
    "silence says nothing": Calibrated(replace(boxes.ALL, silence=False)),
    "learned from all replies only": Calibrated(replace(boxes.ALL, draws=False)),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A folder in the pipeline's words: each detector's reply to each image, and each image's objects."""

    replies: Mapping[str, Sequence[StoredReply]]
    truth: Sequence[tuple[Detection, ...]]
    crowds: Sequence[tuple[Detection, ...]]
    categories: Mapping[str, int]  # place of a category, by the class of its detections


@cache
def shown(source: Source) -> Shown:
    """Made once a process. A detector answers about every image, if only that there is nothing."""
    folder = source.folder
    names = [one.name for one in folder.categories]
    images = len(folder.pictures)
    replies = {
        name: [_reply(name, n, folder.knows[name], seen) for seen in _detections(found, names, images)]
        for n, (name, found) in enumerate(sorted(folder.detectors.items()), 1)
    }
    objects = _detections(folder.truth.where(~folder.crowd), names, images)
    crowds = _detections(folder.truth.where(folder.crowd), names, images)
    return Shown(replies, objects, crowds, {name: n for n, name in enumerate(names)})


def _detections(found: Found, names: Sequence[str], images: int) -> list[tuple[Detection, ...]]:
    """By image. The classes are the folder's own: all its detectors speak one vocabulary."""
    gathered: list[list[Detection]] = [[] for _ in range(images)]
    rows = zip(
        found.image.tolist(), found.category.tolist(), found.score.tolist(), found.box.tolist(), strict=True
    )
    for image, category, score, (x, y, width, height) in rows:
        name, box = names[category], Box(x=x, y=y, width=width, height=height)
        gathered[image].append(Detection(label=name, emoji="", confidence=score, class_name=name, box=box))
    return [tuple(one) for one in gathered]


def _reply(name: str, number: int, knows: frozenset[str], seen: tuple[Detection, ...]) -> StoredReply:
    reply = ServiceReply(
        service=name, service_types=("spatial",), knows=knows, detections=seen, found=len(seen)
    )
    return StoredReply(result_id=number, created=_THEN, reply=reply)
