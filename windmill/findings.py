"""What was found in each image, as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windmill.model import Box, State


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBox:
    """A merged box: what it is, how many services agree, and how sure they are (0 to 1)."""

    label: str
    box: Box
    detection_count: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that is known of one image. `votes` are (emoji, label, number of votes), best first; `captions`
    are (service, text)."""

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
    group: str = ""
    captions: tuple[tuple[str, str], ...] = ()
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
    """One line for all: `12 photos: 31 merged boxes, 4 faces; 1 with errors`."""
    boxes = sum(len(one.boxes) for one in findings)
    faces = sum(len(one.faces) for one in findings)
    bad = sum(bool(one.errors) for one in findings)
    counts = f"{len(findings)} photos: {boxes} merged boxes, {faces} faces"
    return f"{counts}; {bad} with errors" if bad else counts


def problems(one: Findings) -> tuple[str, ...]:
    """Each different error of an image once, with the services that met it: `damaged (face, colors)`."""
    services: dict[str, list[str]] = {}
    for error in one.errors:
        service, _, text = error.partition(": ")
        _, _, reason = text.partition(": ")  # without the error's class
        services.setdefault(reason.replace(f"{one.path}: ", ""), []).append(service)
    return tuple(f"{reason} ({', '.join(names)})" for reason, names in services.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a service is with an image, by its latest row in the ledger. `place`: its path or address."""

    image_id: int
    state: State
    found: int | None
    place: str
    error: str
