"""Which evaluation fits which service: by what its replies hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from windmill.catalog import SCORER, Service
from windmill.errors import ConfigError, WindmillError
from windmill.evaluating import detection, faces, labelling, reading
from windmill.evaluating.asking import Asked, Timed
from windmill.evaluating.exam import Exam, Figure
from windmill.evaluating.truth import Known
from windmill.plain import line

Measure = Callable[[Exam], Sequence[Figure]]

_BY_NAME: Mapping[str, Measure] = {
    "face": labelling.on_people,
    "pose": labelling.on_people,
    "movenet": labelling.on_people,
    "face_embedding": faces.measure,
    "ocr": reading.measure,
    "nsfw2": labelling.flagged,
    "nudenet": labelling.flagged,
    SCORER: labelling.captions,
}
_BY_TYPE: Mapping[str, Measure] = {  # the first of these that a service has
    "classification": labelling.top_five,
    "semantic": labelling.top_five,
    "spatial": detection.measure,
}


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one service: its figures, or why there are none."""

    name: str
    figures: tuple[Figure, ...] = ()
    milliseconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service to measure, which may turn out not to be there."""

    name: str
    open: Callable[[], Asked]


def rows(
    candidates: Sequence[Candidate], photos: Sequence[Known], people: Mapping[str, Sequence[Path]]
) -> Iterator[Row]:
    """A row for each, as soon as it is measured."""
    for n, candidate in enumerate(candidates):
        yield _row(candidate, photos, people, f"{n + 1} of {len(candidates)}")


def _row(
    candidate: Candidate, photos: Sequence[Known], people: Mapping[str, Sequence[Path]], place: str
) -> Row:
    try:
        asked = Timed(candidate.open())
        exam = Exam(asked, photos, people, place)
        figures = measure(asked.service)(exam)
    except WindmillError as exc:
        return Row(candidate.name, reason=line(exc))
    return Row(candidate.name, tuple(figures), asked.milliseconds)


def measure(service: Service) -> Measure:
    """What measures this service. Raises `ConfigError` for one whose answers no truth is known about."""
    if service.name in _BY_NAME:
        return _BY_NAME[service.name]
    fitting = [one for kind, one in _BY_TYPE.items() if kind in service.service_types]
    if not fitting:
        raise ConfigError("nothing to hold its answers against")
    return fitting[0]
