"""What is to be drawn on a photo: outlines with their labels, faces, and a legend."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from windmill.explaining import Account
from windmill.findings import Findings, FoundBox
from windmill.model import Box, BoxVote, Detection, MergedBox
from windmill.plain import line

Colour = tuple[int, int, int]

_LONGEST_LABEL = 40  # characters
_WHITE: Colour = (255, 255, 255)
_QUIET: Colour = (150, 150, 150)
# Told apart on photos and by those who see few colours: Okabe and Ito 2008, "Color Universal Design".
_APART: Sequence[Colour] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (213, 94, 0), (204, 121, 167), (0, 114, 178),
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
    outlines = tuple(
        _labelled(seen.box, seen.label or seen.emoji, f" {seen.confidence:.2f}")
        for seen in sorted(detections, key=lambda one: -one.confidence)
        if seen.box
    )
    boxes = f"{len(outlines)} box" + "es" * (len(outlines) != 1)
    return Scene(outlines=outlines, legend=(Entry(_QUIET, f"{service}: {boxes}, before merging"),))


def of_account(one: Account, size: tuple[int, int]) -> Scene:
    """One merged box and each detector's own, on a photo of `size` pixels, or on the part around them."""
    colours = dict(zip(sorted(vote.service for vote in one.votes), _cycle(len(one.votes)), strict=True))
    own = tuple(
        Outline(box=vote.detection.box, colour=colours[vote.service], thin=True)
        for vote in one.votes
        if vote.detection and vote.detection.box
    )
    name = line(one.box.label or one.box.emoji, _LONGEST_LABEL)
    agreed = f"{one.box.detection_count} of the {len(one.votes)} that looked"
    title = f"{one.number} {name} {one.box.score:.4f} = what {agreed} agree on"
    merged = Outline(box=one.box.box, colour=_WHITE, captions=(f"{one.number} {name}", str(one.number)))
    votes = tuple(
        Entry(colours[vote.service] if vote.detection else _QUIET, _said(vote)) for vote in one.votes
    )
    others = tuple(Entry(_QUIET, f"{service} {why}") for service, why in one.others.items())
    return Scene(
        outlines=(merged, *own),
        legend=(Entry(_WHITE, title), *votes, *others),
        view=_view([outline.box for outline in (merged, *own)], size),
    )


def _of_boxes(boxes: Sequence[FoundBox], faces: Sequence[Box]) -> Scene:
    outlines = []
    for number, found in enumerate(boxes, 1):
        agreed = f"{found.detection_count} agree" if found.detection_count > 1 else "1 alone"
        name, rest = line(found.label, _LONGEST_LABEL), f" {found.score:.2f} · {agreed}"
        outlines.append(_labelled(found.box, name, rest, str(number)))
    return Scene(outlines=tuple(outlines), faces=tuple(faces))


def _labelled(box: Box, label: str, rest: str, number: str = "") -> Outline:
    name = line(label, _LONGEST_LABEL)
    captions = [f"{number} {name}{rest}", f"{number} {name}", number]
    return Outline(
        box=box, colour=_colour(label), captions=tuple(text.strip() for text in captions if text.strip())
    )


def _said(vote: BoxVote) -> str:
    if vote.detection is None:
        return f"{vote.service} looked and saw nothing here: weight {vote.weight:+.2f}"
    seen = f"{line(vote.detection.label, _LONGEST_LABEL)} {vote.detection.confidence:.2f}"
    return f"{vote.service} saw {seen}: IoU {vote.iou:.2f}, weight {vote.weight:+.2f}"


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


def _cycle(count: int) -> list[Colour]:
    return [_APART[n % len(_APART)] for n in range(count)]


def _colour(label: str) -> Colour:
    """A strong colour that is always the same for a label."""
    hue = int.from_bytes(hashlib.sha256(label.encode()).digest()[:2]) / 65536
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
