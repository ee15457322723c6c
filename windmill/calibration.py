"""The file with what was learned about detectors and voters: `calibration.json`, by `windmill calibrate`.

What ships with the package is read unless the setting CALIBRATION names another one (docs/merging.md and
docs/voting.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from windmill.errors import ConfigError
from windmill.model import Detector, Detectors, Voter, Voters
from windmill.plain import line

VERSION = 1
SHIPPED = "calibration.json"

Read = TypeVar("Read")


class OffFormError(ValueError):
    """Something in the file is not what it must be; the text begins with where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """From which folders of images, and how many images: those of the run that wrote the file. A part that it
    could not learn from them it kept from the calibration before."""

    sources: tuple[str, ...]
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All that was learned, and from what: `boxes` of detectors, by which boxes are merged."""

    learned: Learned
    boxes: Detectors
    voters: Voters


def load(path: Path | None = None) -> Calibration:
    """The calibration in this file, or the one that ships. Raises `ConfigError` that names the key."""
    place = path or files("windmill").joinpath(SHIPPED)
    try:
        document = json.loads(place.read_text("utf-8"))
        return _calibration(document)
    except OSError as exc:
        raise ConfigError(f"{place}: cannot read it: {exc.strerror}; CALIBRATION names the file") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{place}: no calibration: {line(exc, 200)}") from exc


def text(calibration: Calibration) -> str:
    """The file's content: a line for each detector and voter, so that two of them can be compared."""
    learned = calibration.learned
    rows = {
        "version": _dump(VERSION),
        "learned": _dump({"from": list(learned.sources), "images": learned.images}),
        "boxes": _boxes_text(calibration.boxes),
        "voters": _voters_text(calibration.voters),
    }
    return _lines(rows, 0) + "\n"


def _boxes_text(boxes: Detectors) -> str:
    rows = {name: _dump(getattr(boxes, name)) for name in _BOXES}
    known = {name: _dump(asdict(one)) for name, one in sorted(boxes.known.items())}
    return _lines(rows | {"average": _dump(asdict(boxes.average)), "known": _lines(known, 2)}, 1)


def _voters_text(voters: Voters) -> str:
    known = {name: _dump(_voter_document(one)) for name, one in sorted(voters.known.items())}
    rows = {
        "prior": _dump(voters.prior),
        "together": _dump(voters.together),
        "average": _dump(_voter_document(voters.average)),
        "labels": _dump(dict(sorted(voters.labels.items()))),
        "known": _lines(known, 2),
    }
    return _lines(rows, 1)


def _lines(rows: Mapping[str, str], depth: int) -> str:
    """An object, a key a line; the values are JSON already."""
    body = ",\n".join(f"{' ' * (depth + 1)}{_dump(key)}: {value}" for key, value in rows.items())
    return f"{{\n{body}\n{' ' * depth}}}" if rows else "{}"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _voter_document(voter: Voter) -> dict[str, object]:
    numbers = {name: getattr(voter, name) for name in _VOTER}
    return numbers | {"count": voter.count, "labels": " ".join(sorted(voter.labels))}


def _calibration(document: Any) -> Calibration:
    keys: Keys = {"version": _version, "learned": _learned, "boxes": _boxes, "voters": _voters}
    values = _object("the file", document, keys)
    return Calibration(learned=values["learned"], boxes=values["boxes"], voters=values["voters"])


Reader = Callable[[str, Any], Any]  # where a value stands, the value → what it means
Keys = Mapping[str, Reader]


def _object(where: str, value: Any, keys: Keys) -> dict[str, Any]:
    """An object of exactly these keys: one that is unknown here may have meant something to who wrote it."""
    if not isinstance(value, dict):
        raise OffFormError(f"{where}: expected an object")
    wrong = sorted(value.keys() ^ keys.keys())
    if wrong:
        known = ", ".join(keys)
        raise OffFormError(f"{where}: {line(wrong[0], 80)}: missing or unknown; expected {known}")
    return {key: read(f"{where}.{key}", value[key]) for key, read in keys.items()}


def _version(where: str, value: Any) -> int:
    if value != VERSION:
        raise OffFormError(f"{where}: {line(value, 40)}, and this Windmill reads version {VERSION}")
    return VERSION


def _learned(where: str, value: Any) -> Learned:
    values = _object(where, value, {"from": _texts, "images": _count})
    return Learned(sources=values["from"], images=values["images"])


def _boxes(where: str, value: Any) -> Detectors:
    keys: Keys = {**_BOXES, "average": _detector, "known": partial(_each, read=_detector)}
    return Detectors(**_object(where, value, keys))


def _detector(where: str, value: Any) -> Detector:
    return Detector(**_object(where, value, {**_DETECTOR, "count": _count}))


def _voters(where: str, value: Any) -> Voters:
    keys: Keys = {
        "prior": _number,
        "together": partial(_number, least=0, most=1),
        "average": _voter,
        "labels": partial(_each, read=_number),
        "known": partial(_each, read=_voter),
    }
    return Voters(**_object(where, value, keys))


def _voter(where: str, value: Any) -> Voter:
    values = _object(where, value, {**_VOTER, "count": _count, "labels": _text})
    if values["least"] > values["most"]:
        raise OffFormError(f"{where}.least: more than most")
    return Voter(**{**values, "labels": frozenset(values["labels"].split())})


def _each(where: str, value: Any, read: Callable[[str, Any], Read]) -> dict[str, Read]:
    if not isinstance(value, dict):
        raise OffFormError(f"{where}: expected an object")
    return {key: read(f"{where}.{line(key, 40)}", one) for key, one in value.items()}


def _number(where: str, value: Any, least: float = -100, most: float = 100) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise OffFormError(f"{where}: expected a number from {least:g} to {most:g}, got {line(value, 40)}")
    return float(value)


def _count(where: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise OffFormError(f"{where}: expected a whole number, got {line(value, 40)}")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str):
        raise OffFormError(f"{where}: expected text, got {line(value, 40)}")
    return value


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise OffFormError(f"{where}: expected a list of texts")
    return tuple(_text(where, one) for one in value)


# Beyond these one detector would decide alone, and sums of them might overflow.
_LOG_ODDS, _FACTOR = 20.0, 10.0
_BOXES: Keys = {
    "bias": partial(_number, least=-_LOG_ODDS, most=_LOG_ODDS),
    "agreement": partial(_number, least=0, most=_FACTOR),
    "overlap": partial(_number, least=-_LOG_ODDS, most=0),
}
_DETECTOR: Keys = {
    "right": partial(_number, least=-_LOG_ODDS, most=_LOG_ODDS),
    "slope": partial(_number, least=0, most=_FACTOR),
    "place": partial(_number, least=-_LOG_ODDS, most=_LOG_ODDS),
    "place_slope": partial(_number, least=-_FACTOR, most=_FACTOR),
    "silent": partial(_number, least=-_LOG_ODDS, most=0),
}
_VOTER: Keys = {
    "said": _number,
    "slope": partial(_number, least=0),
    "silent": partial(_number, most=0),
    "least": partial(_number, least=0.001, most=0.999),
    "most": partial(_number, least=0.001, most=0.999),
    "right": partial(_number, least=0, most=1),
}
