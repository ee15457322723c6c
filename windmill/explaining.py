"""Why a merged box stands, or why there is none: each service's part in it, found by merging again.

What was merged is not stored with its reasons: the rule is a pure function of the stored replies, so the same
rule on the same replies gives the same boxes and every number on the way there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from windmill.catalog import MERGER, Catalog
from windmill.core import merging, seen
from windmill.core.geometry import iou
from windmill.errors import ConfigError
from windmill.history import History
from windmill.model import Box, BoxVote, MergedBox, Snapshot, StoredReply


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of one image's boxes, read at one moment."""

    history: History
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Why a box stands or not.

    `number` is its place among the image's boxes, 0 when it is none of them. `votes` are of those who looked
    and know the class; `others` says of each further detector why it has none.
    """

    box: MergedBox
    number: int
    threshold: float
    votes: tuple[BoxVote, ...]
    others: Mapping[str, str]


def boxes(snapshot: Snapshot) -> tuple[MergedBox, ...]:
    """An image's boxes as they are numbered: from 1, the strongest first."""
    return tuple(sorted(snapshot.boxes, key=merging.by_strength))


def box_number(snapshot: Snapshot, number: int) -> MergedBox:
    """Raises `ConfigError` for a number that no box has."""
    known = boxes(snapshot)
    if not 1 <= number <= len(known):
        there = f"its boxes are 1 to {len(known)}" if known else "it has none"
        raise ConfigError(f"image {snapshot.image.image_id}: there is no box {number}; {there}")
    return known[number - 1]


def account(case: Case, number: int, services: Catalog) -> Account:
    """Why the box with this number stands. Raises `ConfigError`, also where that cannot be found out."""
    wanted = box_number(case.snapshot, number)
    replies = _merged_replies(case)
    for box in merging.candidates(replies):
        if box.key == wanted.key:
            return _account(box, case, replies, services)
    raise _changed(case)


def near(case: Case, x: float, y: float, services: Catalog) -> tuple[Account, ...]:
    """All that any detector saw at a point of the upright image, in pixels, whether it stands or not."""
    _check_point(case.history, x, y)
    replies = _merged_replies(case)
    found = merging.candidates(replies)
    return tuple(_account(box, case, replies, services) for box in found if _holds(box.box, x, y))


def votes(box: MergedBox, replies: Sequence[StoredReply]) -> tuple[BoxVote, ...]:
    """What each service that looked says of the box: who saw it first, by weight.

    A weight is a confidence divided by the number of those who looked, so that weights add up to the score.
    """
    names = sorted(stored.reply.service for stored in replies if merging.looked_for_boxes(stored.reply))
    sightings = {source.service: source.detection for source in box.detections}
    total = math.fsum(detection.confidence for detection in sightings.values())
    found = []
    for name in names:
        detection = sightings.get(name)
        confidence = detection.confidence if detection else 0.0
        found.append(
            BoxVote(
                service=name,
                weight=confidence / len(names),
                detection=detection,
                share=(confidence / total if total > 0 else 1 / len(sightings)) if detection else 0.0,
                iou=iou(detection.box, box.box) if detection and detection.box else 0.0,
            )
        )
    return tuple(sorted(found, key=lambda vote: (vote.detection is None, -vote.weight, vote.service)))


def score_sum(one: Account) -> str:
    """The score as a sum that a reader can follow."""
    confidences = " + ".join(
        f"{vote.detection.confidence:.4f}" if vote.detection else "0" for vote in one.votes
    )
    return f"score = ({confidences}) / {len(one.votes)} who looked = {one.box.score:.4f}"


def corners_mean(one: Account) -> str:
    """Where the box's place comes from."""
    parts = [f"{100 * vote.share:.0f}% {vote.service}" for vote in one.votes if vote.detection]
    return f"place = the mean of the corners, {' + '.join(parts)}"


def verdict(one: Account) -> str:
    """Why it stands or falls, in one sentence."""
    if one.number and not one.threshold:
        return "it stands: no other service has looked for boxes yet"
    if one.number:
        return f"it stands: {one.box.score:.4f} is not below the threshold of {one.threshold:g}"
    return f"it falls: {one.box.score:.4f} is below the threshold of {one.threshold:g}"


def _account(box: MergedBox, case: Case, replies: Sequence[StoredReply], services: Catalog) -> Account:
    found = votes(box, replies)
    keys = [known.key for known in boxes(case.snapshot)]
    return Account(
        box=box,
        number=keys.index(box.key) + 1 if box.key in keys else 0,
        threshold=merging.threshold(replies),
        votes=found,
        others=dict(_others(case, {vote.service for vote in found}, services)),
    )


def _others(case: Case, voted: set[str], services: Catalog) -> Iterator[tuple[str, str]]:
    """Each detector without a vote, and why it has none."""
    merged = {stored.reply.service for stored in _merged_replies(case)}
    answered = {stored.reply.service: stored.reply for stored in case.snapshot.replies}
    for name, reply in answered.items():
        if "spatial" not in reply.service_types or name in voted:
            continue
        if name not in merged:
            yield name, "has answered since; its boxes are not merged yet"
        elif merging.looked_for_boxes(reply):
            yield name, "does not know this class"
        else:
            yield name, "speaks of the whole image, and draws no boxes"
    for asked in case.history.asked:
        if asked.service not in answered and "spatial" in services.stage(asked.service).service_types:
            yield asked.service, f"has not answered ({asked.state})"


def _merged_replies(case: Case) -> tuple[StoredReply, ...]:
    """The replies that the stored boxes were made of. Raises `ConfigError` where they cannot be told."""
    name = case.history.image_id
    made = next((one for one in case.history.made if one.stage == MERGER), None)
    if made is None:
        raise ConfigError(
            f"image {name}: no boxes were merged yet; `windmill why {name}` says what it waits for"
        )
    if made.rule != merging.IDENTITY:
        raise ConfigError(
            f"image {name}: its boxes were merged by the rule {made.rule}, and this is {merging.IDENTITY}:"
            f" `windmill rerun --service {MERGER} --stale` merges them anew"
        )
    known = tuple(
        stored
        for stored in case.snapshot.replies
        if made.seen.get(stored.reply.service) == seen.microseconds(stored.created)
    )
    if len(known) < len(made.seen):
        raise _changed(case)
    return known


def _changed(case: Case) -> ConfigError:
    name = case.history.image_id
    return ConfigError(
        f"image {name}: a service has answered anew since the boxes were merged;"
        f" `windmill why {name}` says what it waits for"
    )


def _check_point(history: History, x: float, y: float) -> None:
    width, height = history.width or math.inf, history.height or math.inf
    if not (0 <= x <= width and 0 <= y <= height):
        raise ConfigError(
            f"image {history.image_id}: {x:g},{y:g} lies outside of its {width:g}×{height:g} pixels"
        )


def _holds(box: Box, x: float, y: float) -> bool:
    return box.x <= x <= box.x + box.width and box.y <= y <= box.y + box.height
