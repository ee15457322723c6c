"""What is to be drawn on a photo: outlines with their labels, faces, and a legend."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from windmill.core.figures import Part
from windmill.explaining import Account
from windmill.findings import Findings, FoundBox
from windmill.model import Box, BoxVote, Detection, MergedBox
from windmill.plain import line

Colour = tuple[int, int, int]

_LONGEST_LABEL = 40  # characters
_WHITE: Colour = (255, 255, 255)
_QUIET: Colour = (150, 150, 150)
# Strong enough to be seen on photos, each told apart from those next to it.
_COLOURS: Sequence[Colour] = (
    (255, 165, 30), (70, 190, 255), (60, 215, 115), (255, 95, 75), (190, 130, 255), (255, 225, 60),
    (0, 205, 200), (255, 125, 200), (160, 220, 50), (120, 150, 255), (225, 140, 90), (255, 70, 130),
)  # fmt: skip
_AROUND = 0.6  # of a box's longer side: what is shown on each side of it
_WORTH_IT = 0.6  # share of the photo from which on a part of it is no better than the whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A box to draw; `captions` say the same, longest first: the longest that finds room is written."""

    box: Box
    colour: Colour
    captions: tuple[str, ...] = ()
    thin: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend."""

    colour: Colour
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is drawn on a photo, in upright image pixels; earlier outlines lie on top.

    `view` is the part of the photo that is shown; where it is empty, all of it is.
    """

    outlines: tuple[Outline, ...] = ()
    faces: tuple[Box, ...] = ()
    legend: tuple[Entry, ...] = ()
    view: tuple[Box, ...] = ()


def of_findings(findings: Findings) -> Scene:
    """All merged boxes and faces of a photo."""
    return _of_boxes(findings.boxes, findings.faces)


def of_boxes(boxes: Sequence[MergedBox], faces: Sequence[Box]) -> Scene:
    """The same, from the boxes as they are numbered."""
    found = [
        FoundBox(
            label=one.label or one.emoji, box=one.box, detection_count=one.detection_count, score=one.score
        )
        for one in boxes
    ]
    return _of_boxes(found, faces)


def of_detections(service: str, detections: Sequence[Detection]) -> Scene:
    """What one detector said by itself."""
    seen = sorted((one for one in detections if one.box), key=lambda one: -one.confidence)
    colours = _colours([one.label or one.emoji for one in seen])
    outlines = tuple(
        _labelled(one.box, one.label or one.emoji, f" {one.confidence:.2f}", colours)
        for one in seen
        if one.box
    )
    boxes = f"{len(outlines)} box" + "es" * (len(outlines) != 1)
    return Scene(outlines=outlines, legend=(Entry(_QUIET, f"{service}: {boxes}, before merging"),))


def of_account(one: Account, size: tuple[int, int]) -> Scene:
    """One merged box and each detector's own, on a photo of `size` pixels, or on the part around them."""
    colours = dict(zip(sorted(vote.service for vote in one.votes), cycle(_COLOURS), strict=False))
    own = tuple(
        Outline(box=vote.detection.box, colour=colours[vote.service], thin=True)
        for vote in one.votes
        if vote.detection and vote.detection.box
    )
    name = line(one.box.label or one.box.emoji, _LONGEST_LABEL)
    seen_by = f"seen by {one.box.detection_count} of the {len(one.votes)} that can have seen it"
    title = f"{one.number} {name} {one.figures.score}, {seen_by}"
    merged = Outline(box=one.box.box, colour=_WHITE, captions=(f"{one.number} {name}", str(one.number)))
    votes = tuple(
        Entry(
            colours[vote.service] if vote.detection else _QUIET, _said(vote, one.figures.parts[vote.service])
        )
        for vote in one.votes
    )
    others = tuple(Entry(_QUIET, f"{service} {why}") for service, why in one.others.items())
    return Scene(
        outlines=(*own, merged),
        legend=(Entry(_WHITE, title), *votes, *others),
        view=_view([outline.box for outline in (*own, merged)], size),
    )


def _of_boxes(boxes: Sequence[FoundBox], faces: Sequence[Box]) -> Scene:
    outlines, colours = [], _colours([found.label for found in boxes])
    for number, found in enumerate(boxes, 1):
        agreed = f"{found.detection_count} agree" if found.detection_count > 1 else "1 alone"
        outlines.append(
            _labelled(found.box, found.label, f" {found.score:.2f} · {agreed}", colours, str(number))
        )
    return Scene(outlines=tuple(outlines), faces=tuple(faces))


def _labelled(box: Box, label: str, rest: str, colours: Mapping[str, Colour], number: str = "") -> Outline:
    name = line(label, _LONGEST_LABEL)
    captions = (f"{number} {name}{rest}", f"{number} {name}", number or "•")
    return Outline(box=box, colour=colours[label], captions=tuple(text.strip() for text in captions))


def _said(vote: BoxVote, part: Part) -> str:
    """In letters that every font has."""
    if vote.detection is None:
        return ": ".join(filter(None, (f"{vote.service} saw nothing here", part.silence.replace("−", "-"))))
    seen = f"{line(vote.detection.label, _LONGEST_LABEL)} {vote.detection.confidence:.2f}"
    return f"{vote.service} saw {seen}: chance {part.chance}, IoU {part.iou}, counts {part.counts}"


def _view(boxes: Sequence[Box], size: tuple[int, int]) -> tuple[Box, ...]:
    """The part of the photo that holds the boxes and something around them, unless it is nearly all of it."""
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.width for box in boxes), max(box.y + box.height for box in boxes)
    around = _AROUND * max(right - left, bottom - top)
    left, top = max(0.0, left - around), max(0.0, top - around)
    right, bottom = min(float(size[0]), right + around), min(float(size[1]), bottom + around)
    if (
        right - left < 1
        or bottom - top < 1
        or (right - left) * (bottom - top) > _WORTH_IT * size[0] * size[1]
    ):
        return ()
    return (Box(x=left, y=top, width=right - left, height=bottom - top),)


def _colours(labels: Sequence[str]) -> Mapping[str, Colour]:
    """A colour for each label: the same in all photos, unless two labels of this one would share it."""
    chosen: dict[str, int] = {}
    for label in dict.fromkeys(labels):
        wanted = hashlib.sha256(label.encode()).digest()[0]
        free = (wanted + step for step in range(len(_COLOURS)))
        taken = set(chosen.values())
        places = [place % len(_COLOURS) for place in free]
        chosen[label] = next((place for place in places if place not in taken), places[0])
    return {label: _COLOURS[place] for label, place in chosen.items()}
