"""Why boxes stand, as people and scripts read it: a table for a terminal, lines, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from windmill.explaining import Account, by_what, place, verdict
from windmill.model import Box, BoxVote, MergedBox
from windmill.progress import plain

NOTHING = "nothing"
_LISTED = 30  # boxes of an image
_LONGEST_LABEL = 60  # characters


def heading(one: Account, count: int) -> Sequence[str]:
    """What is explained: which box of `count`, what, where, and by which rule it stands or falls."""
    which = f"box {one.number} of {count}" if one.number else "no box"
    return (
        f"{which}: {_name(one.box)} at {_place(one.box.box)} px",
        verdict(one),
        by_what(one),
    )


def table(one: Account) -> Table:
    """A row for each detector that has a vote: what it said, what that counts, and its share in the place."""
    made = Table("looked", "saw", "chance", "its box", "IoU", "counts", "share")
    made.box, made.pad_edge, made.show_edge = SIMPLE_HEAD, False, False  # so that it fits 80 columns
    for vote in one.votes:
        made.add_row(*map(plain, _cells(vote, one)))
    return made


def others(one: Account) -> Sequence[str]:
    """A line for each detector that has no vote, and why."""
    return [f"no vote: {service} {why}" for service, why in one.others.items()]


def sums(one: Account) -> Sequence[str]:
    """The arithmetic: score and place."""
    return ("counts = chance × IoU² (with the surest box)", *one.figures.lines, place(one))


def listing(numbered: Sequence[MergedBox]) -> str:
    """An image's boxes in one line."""
    some = [
        f"{number} {_name(box)} {box.score:.2f} ×{box.detection_count}"
        for number, box in enumerate(numbered[:_LISTED], 1)
    ]
    more = [f"and {len(numbered) - _LISTED} more"] if len(numbered) > _LISTED else []
    return f"boxes: {', '.join([*some, *more]) or 'none'}"


def boxes(numbered: Sequence[MergedBox]) -> list[Mapping[str, Any]]:
    """An image's boxes for scripts, with their numbers."""
    return [{"number": number, **_box(box)} for number, box in enumerate(numbered, 1)]


def document(one: Account) -> Mapping[str, Any]:
    """One account for scripts; `number` is null for what is no box."""
    return {
        "number": one.number or None,
        **_box(one.box),
        "stands": bool(one.number),
        "threshold": one.judged.threshold,
        "rule": asdict(one.rule),
        "one_is_right": one.judged.right,
        "overlap": one.judged.rival,
        "votes": [_vote(vote, vote.service not in one.average) for vote in one.votes],
        "no_vote": dict(one.others),
        "arithmetic": list(sums(one)),
    }


def _cells(vote: BoxVote, one: Account) -> tuple[str, ...]:
    part = one.figures.parts[vote.service]
    if vote.detection is None:
        return vote.service, ": ".join(filter(None, (NOTHING, part.silence))), "", "", "", "", ""
    return (
        vote.service,
        f"{vote.detection.label} {vote.detection.confidence:.3f}",
        part.chance,
        _place(vote.detection.box, ".0f") if vote.detection.box else "",
        part.iou,
        part.counts,
        f"{100 * vote.share:.0f}%",
    )


def _box(box: MergedBox) -> Mapping[str, Any]:
    return {
        "emoji": box.emoji,
        "label": box.label,
        "labels": box.labels,
        "bbox": asdict(box.box),
        "crop": asdict(box.crop),
        "score": box.score,
        "detection_count": box.detection_count,
        "contributing_services": box.contributing_services,
    }


def _vote(vote: BoxVote, calibrated: bool) -> Mapping[str, Any]:
    said = {"service": vote.service, "saw": vote.detection is not None, "calibrated": calibrated}
    if vote.detection is None:
        return said | {"silence": vote.silence}
    box = vote.detection.box
    return said | {
        "label": vote.detection.label,
        "confidence": vote.detection.confidence,
        "chance": vote.chance,
        "bbox": asdict(box) if box else None,
        "iou": vote.iou,
        "counts": vote.counts,
        "share": vote.share,
    }


def _name(box: MergedBox) -> str:
    return " ".join(filter(None, (box.emoji, box.label[:_LONGEST_LABEL])))


def _place(box: Box, form: str = "g") -> str:
    return f"{box.x:{form}},{box.y:{form}} {box.width:{form}}×{box.height:{form}}"
