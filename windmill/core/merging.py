"""Harmonizing the detectors' boxes of one image into merged boxes: which stand, with what score, and why.

What is done with the boxes stands in `fusing`; here replies become columns, and clusters become merged boxes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter

import numpy as np

from windmill.core import emoji, fusing
from windmill.core.fusing import Flags, Placed, Sightings, Weights
from windmill.core.overlaps import Floats, Ints
from windmill.model import (
    Box,
    BoxVote,
    Detection,
    Detectors,
    JudgedBox,
    MergedBox,
    MergeRule,
    ServiceReply,
    SourcedDetection,
    StoredReply,
)

RULE = "calibrated_noisy_or"
VERSION = 3

STANDS = 0.5  # probability that a box needs: more likely right than not
_PLACE = 2  # decimals of a pixel
_SCORE = 6  # decimals of a score


def rule(detectors: Detectors) -> MergeRule:
    """The rule's name, its version, and which calibration it weighs by."""
    learned = json.dumps(asdict(detectors), sort_keys=True).encode()
    return MergeRule(name=RULE, version=VERSION, calibration=hashlib.sha256(learned).hexdigest()[:8])


def merge(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[MergedBox, ...]:
    """Merged boxes of all spatial replies of one image, strongest first; the order of replies is nothing.

    `score` is the probability that the box shows an object of its class: agreement raises it, and a lone weak
    detection falls once others, who know the class, did not see it. What nobody else has an opinion of
    stands, however weak.
    """
    scene = _scene(replies, detectors)
    return tuple(box for box, _ in _boxes(scene, np.flatnonzero(scene.score >= scene.threshold)))


def candidates(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[MergedBox, ...]:
    """What stands and what falls below the threshold, strongest first."""
    scene = _scene(replies, detectors)
    return tuple(box for box, _ in _boxes(scene, np.arange(len(scene.score))))


def judged(replies: Iterable[StoredReply], detectors: Detectors) -> tuple[JudgedBox, ...]:
    """The candidates, with what each service that can have seen them says."""
    scene = _scene(replies, detectors)
    return tuple(_judged(scene, box, number) for box, number in _boxes(scene, np.arange(len(scene.score))))


def weights(services: Iterable[str], detectors: Detectors) -> Weights:
    """What the boxes of each of these services are worth; who is not known is the average detector."""
    known = [detectors.known.get(name, detectors.average) for name in services]
    return Weights(
        right=np.array([one.right for one in known]),
        slope=np.array([one.slope for one in known]),
        place=np.array([one.place for one in known]),
        place_slope=np.array([one.place_slope for one in known]),
        silent=np.array([one.silent for one in known]),
        bias=detectors.bias,
        agreement=detectors.agreement,
        overlap=detectors.overlap,
    )


def by_strength(box: MergedBox) -> tuple[float, str]:
    """Sorts an image's boxes: the strongest first, and always in the same order."""
    return -box.score, box.key


def looked_for_boxes(reply: ServiceReply) -> bool:
    """False for a classifier's word on the whole image: it draws no boxes, so that it has none is no news."""
    return "spatial" in reply.service_types and (
        "classification" not in reply.service_types or any(seen.box for seen in reply.detections)
    )


_Row = tuple[StoredReply, Detection, Box]


@dataclass(frozen=True, slots=True)
class _Scene:
    """One image: what was seen, a row each, and what became of it, cluster by cluster.

    `knows` says which service knows which class, by their numbers. Boxes have a `chance` by themselves,
    whoever else saw what. `contested` are the clusters that several have an opinion of; clusters stand from a
    score of their `threshold`.
    """

    services: Sequence[str]
    rows: Sequence[_Row]
    weights: Weights
    knows: Flags
    seen: Sightings
    chance: Floats
    placed: Placed
    contested: Flags
    score: Floats
    threshold: Floats


def _scene(replies: Iterable[StoredReply], detectors: Detectors) -> _Scene:
    spatial = sorted(
        (one for one in replies if looked_for_boxes(one.reply)), key=lambda one: one.reply.service
    )
    rows = [(stored, seen, seen.box) for stored in spatial for seen in _said(stored) if seen.box]
    service = {one.reply.service: number for number, one in enumerate(spatial)}
    classes: dict[str, int] = {}
    seen = Sightings(
        corners=_corners([box for _, _, box in rows]),
        logit=fusing.logit(np.array([one.confidence for _, one, _ in rows], float)),
        service=np.array([service[stored.reply.service] for stored, _, _ in rows], np.int64),
        group=np.array([classes.setdefault(one.class_name, len(classes)) for _, one, _ in rows], np.int64),
    )
    worth = weights(service, detectors)
    knows = _knows(spatial, classes)
    chance = fusing.chances(seen, worth)
    placed = fusing.placed(seen, fusing.clusters(seen, chance), chance, worth)
    contested = fusing.contested(seen, placed, knows)
    silence = fusing.silence(seen, placed.clusters, knows, worth)
    score = fusing.score(placed, silence, contested, worth)
    threshold = np.where(contested, STANDS, 0.0)
    return _Scene(list(service), rows, worth, knows, seen, chance, placed, contested, score, threshold)


def _said(stored: StoredReply) -> Sequence[Detection]:
    """Its detections; their order in the reply is nothing, not even between two that differ in words only."""
    return sorted(stored.reply.detections, key=attrgetter("confidence", "label", "emoji", "shiny"))


def _corners(boxes: Sequence[Box]) -> Floats:
    numbers = [number for box in boxes for number in (box.x, box.y, box.width, box.height)]
    corners = np.array(numbers, float).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return corners


def _knows(spatial: Sequence[StoredReply], classes: Collection[str]) -> Flags:
    """Which service says that it knows which class: service × class."""
    known = [one.reply.knows or frozenset() for one in spatial]
    rows = [[name in words for name in classes] for words in known]
    return np.array(rows, bool).reshape(len(spatial), len(classes))


def _boxes(scene: _Scene, chosen: Ints) -> Sequence[tuple[MergedBox, int]]:
    """The merged boxes of these clusters, strongest first, with the clusters' numbers.

    A service that says the same thing twice makes two clusters of one key; the stronger one is the box.
    """
    members = _members(scene)
    places = _places(scene.placed.corners).tolist()
    scores = np.round(scene.score, _SCORE).tolist()
    leader = scene.placed.clusters.leader.tolist()
    made = [
        (_box(scene.rows[leader[n]], [scene.rows[row] for row in members[n]], places[n], scores[n]), n)
        for n in chosen.tolist()
    ]
    made.sort(key=lambda one: by_strength(one[0]))
    by_key: dict[str, tuple[MergedBox, int]] = {}
    for box, number in made:
        by_key.setdefault(box.key, (box, number))
    return list(by_key.values())


def _places(corners: Floats) -> Floats:
    """Left, top, width and height, rounded."""
    start, end = np.round(corners[:, :2], _PLACE), np.round(corners[:, 2:], _PLACE)
    return np.hstack([start, np.round(end - start, _PLACE)])


def _members(scene: _Scene) -> Sequence[Sequence[int]]:
    """Of each cluster the rows of its detections, by service."""
    members: list[list[int]] = [[] for _ in scene.score]
    for row, number in enumerate(scene.placed.clusters.cluster.tolist()):
        members[number].append(row)
    return members


def _box(first: _Row, members: Sequence[_Row], place: Sequence[float], score: float) -> MergedBox:
    _, surest, crop = first
    x, y, width, height = place
    confidence = math.fsum([one.confidence for _, one, _ in members]) / len(members)
    symbols = [one.emoji for _, one, _ in (first, *members) if one.emoji]
    return MergedBox(
        key=f"{surest.class_name} {crop.x:.1f},{crop.y:.1f},{crop.width:.1f},{crop.height:.1f}",
        class_name=surest.class_name,
        emoji=emoji.normalise(symbols[0]) if symbols else "",
        label=surest.label,
        labels=tuple(sorted({one.label for _, one, _ in members})),
        box=Box(x=x, y=y, width=width, height=height),
        crop=crop,
        score=score,
        avg_confidence=round(confidence, 4),
        detections=tuple(
            [
                SourcedDetection(service=stored.reply.service, result_id=stored.result_id, detection=one)
                for stored, one, _ in members
            ]
        ),
    )


def _judged(scene: _Scene, box: MergedBox, number: int) -> JudgedBox:
    placed = scene.placed
    return JudgedBox(
        box=box,
        threshold=float(scene.threshold[number]),
        right=float(fusing.sigmoid(placed.log_odds[number])),
        rival=float(placed.overlap[number]) if scene.contested[number] else 0.0,
        votes=tuple(_votes(scene, number)),
    )


def _votes(scene: _Scene, number: int) -> Iterator[BoxVote]:
    """What each service that saw the box or knows its class says: who saw it, by weight, and who did not."""
    placed, group = scene.placed, scene.seen.group[scene.placed.clusters.leader[number]]
    rows = np.flatnonzero(placed.clusters.cluster == number)
    for row in sorted(rows.tolist(), key=lambda row: -placed.chance[row]):
        yield BoxVote(
            service=scene.services[scene.seen.service[row]],
            detection=scene.rows[row][1],
            chance=float(scene.chance[row]),
            iou=float(placed.iou[row]),
            counts=float(placed.chance[row]),
            share=float(placed.share[row]),
        )
    saw = set(scene.seen.service[rows].tolist())
    for one, name in enumerate(scene.services):
        if one not in saw and scene.knows[one, group]:
            yield BoxVote(service=name, silence=float(scene.weights.silent[one]))
