"""Windmill's own rule as the evaluation sees it, and images as the rule sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

from windmill import vocabularies
from windmill.core import merging
from windmill.core.emoji import normalise
from windmill.evaluating.boxes.folder import Category, Source
from windmill.evaluating.boxes.found import Found
from windmill.model import Box, Detection, MergedBox, ServiceReply, StoredReply
from windmill.services import emoji

_THEN = datetime(2000, 1, 1, tzinfo=UTC)  # when replies came is no part of a merge


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """The replies about an image, and what is on it (each with a confidence of 1)."""

    replies: tuple[StoredReply, ...]
    truth: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """What a rule makes of an image: `candidates` on which AP is judged, and what is `stored` of them."""

    candidates: Sequence[MergedBox]
    stored: Sequence[MergedBox]


class Rule(Protocol):
    """A way of merging: what it learns from some images, it uses on others."""

    def learn(self, images: Sequence[LabelledImage]) -> Any: ...

    def merge(self, replies: Sequence[StoredReply], learned: Any) -> Merged: ...


class Uncalibrated:
    """The rule for detectors of which nothing is known."""

    def learn(self, images: Sequence[LabelledImage]) -> None:
        """Nothing."""

    def merge(self, replies: Sequence[StoredReply], learned: None) -> Merged:  # noqa: ARG002 -- a `Rule`
        boxes = merging.merge(replies)
        return Merged(boxes, boxes)


RULES: Mapping[str, Rule] = {"Windmill": Uncalibrated()}  # the first is the one that a user gets


@dataclass(frozen=True, slots=True)
class Shown:
    """A folder in the pipeline's words: each detector's reply to each image, and each image's objects."""

    replies: Mapping[str, Sequence[StoredReply]]
    truth: Sequence[tuple[Detection, ...]]
    categories: Mapping[str, int]  # place of a category, by the label that detections of it bear


@cache
def shown(source: Source) -> Shown:
    """Made once a process. A detector answers about every image, if only that there is nothing."""
    folder = source.folder
    words = list(zip([one.name for one in folder.categories], _emoji(folder.categories), strict=True))
    images = len(folder.pictures)
    knows = frozenset(label for label, _ in words)
    replies = {
        name: [_reply(name, n, seen, knows) for seen in _detections(found, words, images)]
        for n, (name, found) in enumerate(sorted(folder.detectors.items()), 1)
    }
    objects = _detections(folder.truth.where(~folder.crowd), words, images)
    return Shown(replies, objects, {name: n for n, (name, _) in enumerate(words)})


def _emoji(categories: Sequence[Category]) -> list[str]:
    """Those that services would give; none that two categories share, or merging would take them for one."""
    coco = set(vocabularies.names("coco"))
    found = [emoji.of(one.name, "coco" if one.name in coco else None) for one in categories]
    shared = Counter(normalise(one) for one in found)
    return [one if shared[normalise(one)] == 1 else "" for one in found]


def _detections(found: Found, words: Sequence[tuple[str, str]], images: int) -> list[tuple[Detection, ...]]:
    gathered: list[list[Detection]] = [[] for _ in range(images)]
    rows = zip(
        found.image.tolist(), found.category.tolist(), found.score.tolist(), found.box.tolist(), strict=True
    )
    for image, category, score, (x, y, width, height) in rows:
        label, symbol = words[category]
        box = Box(x=x, y=y, width=width, height=height)
        gathered[image].append(
            Detection(label=label, emoji=symbol, confidence=score, class_name=label, box=box)
        )
    return [tuple(one) for one in gathered]


def _reply(name: str, number: int, seen: tuple[Detection, ...], knows: frozenset[str]) -> StoredReply:
    reply = ServiceReply(
        service=name, service_types=("spatial",), knows=knows, detections=seen, found=len(seen)
    )
    return StoredReply(result_id=number, created=_THEN, reply=reply)
