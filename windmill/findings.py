"""What was found in each image, as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windmill.model import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBox:
    """A merged box: what it is, how many services agree, and how sure they are (0 to 1)."""

    label: str
    box: Box
    detection_count: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that is known of one image. `votes` are (emoji, label, number of votes), best first."""

    image_id: int
    filename: str
    path: str | None
    width: int
    height: int
    votes: tuple[tuple[str, str, int], ...] = ()
    boxes: tuple[FoundBox, ...] = ()
    faces: tuple[Box, ...] = ()
    colours: tuple[tuple[str, str], ...] = ()
    text: str = ""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: image × service pairs and jobs about boxes, and how many of them are settled."""

    settled: int
    total: int
    open_jobs: int

    @property
    def complete(self) -> bool:
        return self.open_jobs == 0 and self.settled >= self.total


def summary(findings: Sequence[Findings]) -> str:
    """One line for all: `12 photos: 31 merged boxes, 4 faces; 1 error`."""
    boxes = sum(len(one.boxes) for one in findings)
    faces = sum(len(one.faces) for one in findings)
    errors = sum(len(one.errors) for one in findings)
    return f"{len(findings)} photos: {boxes} merged boxes, {faces} faces" + (
        f"; {errors} errors" if errors else ""
    )
