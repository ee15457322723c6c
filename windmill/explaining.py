"""Why a merged box stands, or why there is none: each service's part in it, found by merging again.

What was merged is not stored with its reasons: the rule is a pure function of the stored replies, so the same
rule on the same replies gives the same boxes and every number on the way there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from windmill.catalog import MERGER, Catalog
from windmill.core import figures, merging, seen
from windmill.core.figures import Figures
from windmill.core.geometry import iou
from windmill.errors import ConfigError
from windmill.history import History
from windmill.model import (
    Box,
    BoxVote,
    Detectors,
    JudgedBox,
    MergedBox,
    MergeRule,
    ServiceReply,
    Snapshot,
    StoredReply,
)

_LATE = "has answered since; its boxes are not merged yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that is known of one image's boxes, read at one moment."""

    history: History
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Why a box stands or not.

    `number` is its place among the image's boxes, 0 when it is none of them. `others` says of each detector
    that has no vote why; `average` are those with a vote that count as the average detector, since nobody
    calibrated them. `figures` is the arithmetic as it is printed.
    """

    judged: JudgedBox
    number: int
    rule: MergeRule
    figures: Figures
    average: tuple[str, ...]
    others: Mapping[str, str]

    @property
    def box(self) -> MergedBox:
        return self.judged.box

    @property
    def votes(self) -> tuple[BoxVote, ...]:
        return self.judged.votes


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


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """Asks of one image why. What cannot be found out raises `ConfigError`, with what to do."""

    case: Case
    services: Catalog
    detectors: Detectors

    def account(self, number: int) -> Account:
        """Why the box with this number stands. Raises `ConfigError`, also where there is none."""
        wanted = box_number(self.case.snapshot, number)
        if wanted.key not in self._judged:
            raise _changed(self.case)
        return self._account(self._judged[wanted.key])

    def near(self, x: float, y: float) -> tuple[Account, ...]:
        """All that any detector saw at a point of the upright image, in pixels, whether it stands or not."""
        _check_point(self.case.history, x, y)
        return tuple(self._account(one) for one in self._judged.values() if _holds(one.box.box, x, y))

    @cached_property
    def _rule(self) -> MergeRule:
        return merging.rule(self.detectors)

    @cached_property
    def _replies(self) -> tuple[StoredReply, ...]:
        return _merged_replies(self.case, self._rule)

    @cached_property
    def _judged(self) -> Mapping[str, JudgedBox]:
        """By their keys: everything that was seen, with what became of it."""
        return {one.box.key: one for one in merging.judged(self._replies, self.detectors)}

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return {one.key: number for number, one in enumerate(boxes(self.case.snapshot), 1)}

    def _account(self, one: JudgedBox) -> Account:
        voters = {vote.service for vote in one.votes}
        return Account(
            judged=one,
            number=self._numbers.get(one.box.key, 0),
            rule=self._rule,
            figures=figures.of(one, self.detectors, self._rival(one)),
            average=tuple(sorted(voters - self.detectors.known.keys())),
            others=dict(self._others(voters)),
        )

    def _rival(self, one: JudgedBox) -> str:
        """What the surer box of its class is called that overlaps it most."""
        numbers = (
            self._numbers[key]
            for key, other in self._judged.items()
            if key in self._numbers
            and other.box.class_name == one.box.class_name
            and other.right >= one.right
            and math.isclose(iou(other.box.crop, one.box.crop), one.rival, abs_tol=1e-6)
        )
        number = next(numbers, 0)
        return f"box {number}" if number else "a surer box"

    def _others(self, voted: set[str]) -> Iterator[tuple[str, str]]:
        """Each detector without a vote, and why it has none."""
        merged = {stored.reply.service for stored in self._replies}
        answered = {stored.reply.service: stored.reply for stored in self.case.snapshot.replies}
        for name, reply in answered.items():
            if "spatial" in reply.service_types and name not in voted:
                yield name, _no_vote(reply) if name in merged else _LATE
        for asked in self.case.history.asked:
            if (
                asked.service not in answered
                and "spatial" in self.services.stage(asked.service).service_types
            ):
                yield asked.service, f"has not answered ({asked.state})"


def verdict(one: Account) -> str:
    """Why it stands or falls, in one sentence."""
    score, threshold = one.figures.score, one.judged.threshold
    if one.number and not threshold:
        return f"it stands with any score, here {score}: no other service that can have seen it has answered"
    if one.number:
        return f"it stands: its score of {score} is not below {threshold:g}"
    return f"it falls: its score of {score} is below {threshold:g}"


def by_what(one: Account) -> str:
    """The rule, what was learned of detectors, and of which nothing was."""
    rule = f"rule {one.rule.name} {one.rule.version}, calibration {one.rule.calibration}"
    if not one.average:
        return rule
    who = ", ".join(one.average)
    each = "each counts" if len(one.average) > 1 else "it counts"
    return f"{rule}; never calibrated: {who}: {each} as the average detector"


def place(one: Account) -> str:
    """Where the box comes from, and its crop, which box workers look at."""
    parts = [f"{100 * vote.share:.0f}% {vote.service}" for vote in one.votes if vote.detection]
    crop = next(vote for vote in one.votes if vote.detection and vote.detection.box == one.box.crop)
    if len(parts) == 1:
        return f"place = the box of {crop.service}"
    return (
        f"place = the mean of the corners, {' + '.join(parts)}; crop = the box of {crop.service}, the surest"
    )


def _no_vote(reply: ServiceReply) -> str:
    if not merging.looked_for_boxes(reply):
        return "speaks of the whole image, and draws no boxes"
    if reply.knows is None:
        return "saw none of this class, and nobody said which classes it knows"
    return "does not know this class"


def _merged_replies(case: Case, rule: MergeRule) -> tuple[StoredReply, ...]:
    """The replies that the stored boxes were made of. Raises `ConfigError` where they cannot be told."""
    name = case.history.image_id
    made = next((one for one in case.history.made if one.stage == MERGER), None)
    if made is None:
        raise ConfigError(
            f"image {name}: no boxes were merged yet; `windmill why {name}` says what it waits for"
        )
    if made.rule != str(rule):
        raise ConfigError(
            f"image {name}: its boxes were merged by the rule {made.rule}, and this is {rule}:"
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
