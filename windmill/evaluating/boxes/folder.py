"""A folder of detections whose truth is known: `ground_truth.json` and a file for each detector.

The truth is in COCO's instances format, a detector's file in COCO's results format
(https://cocodataset.org/#format-data, #format-results); each may be gzipped.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from windmill.calibrating.found import Flags, Found, Line, Marked, columns
from windmill.errors import ConfigError
from windmill.plain import line

TRUTH = "ground_truth"
_ENDINGS = (".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the folder: COCO's number for it, and its size in pixels."""

    id: int
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Category:
    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds. `truth` has a score of 1 everywhere; `crowd` marks boxes around many objects.

    `knows`: the names of the categories that a detector uses anywhere in its file. Nothing else tells which
    it was made for, and of others its silence says nothing.
    """

    name: str
    pictures: tuple[Picture, ...]
    categories: tuple[Category, ...]
    truth: Found
    crowd: Flags
    detectors: Mapping[str, Found]
    knows: Mapping[str, frozenset[str]]

    @property
    def marked(self) -> Marked:
        return Marked(len(self.pictures), len(self.categories), self.truth, self.crowd)


@dataclass(frozen=True, slots=True)
class Source:
    """Where to find a folder: what processes tell each other instead of all that is in it."""

    path: Path
    limit: int | None = None  # only the first so many images, by their number

    @property
    def folder(self) -> Folder:
        """Raises `ConfigError`."""
        return load(self.path, self.limit)


@cache
def load(path: Path, limit: int | None = None) -> Folder:
    """The first `limit` images by number, with all that is said of them; read once a process.

    Raises `ConfigError` that names the file and the entry.
    """
    files = _files(path)
    if TRUTH not in files:
        raise ConfigError(f"{path}: there is no {TRUTH}.json or {TRUTH}.json.gz")
    if len(files) < 2:
        raise ConfigError(f"{path}: there is no file of a detector beside {files[TRUTH].name}")
    told = _read(files[TRUTH])
    pictures, categories, truth, crowd = _truth(files[TRUTH], told)
    kept = pictures[:limit]
    places = {one.id: n for n, one in enumerate(pictures)}
    numbers = {one.id: n for n, one in enumerate(categories)}
    lines = {
        name: _lines(file, _read(file), places, numbers, scored=True)
        for name, file in files.items()
        if name != TRUTH
    }
    detectors = {name: _first(one, len(kept)) for name, one in lines.items()}
    knows = {name: frozenset(categories[box[1]].name for box in one) for name, one in lines.items()}
    inside = truth.image < len(kept)
    return Folder(path.resolve().name, kept, categories, truth.where(inside), crowd[inside], detectors, knows)


def _files(path: Path) -> dict[str, Path]:
    """The folder's files by name, without their endings."""
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder")
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        ending = next((one for one in _ENDINGS if file.name.endswith(one)), None)
        if ending is None or not file.is_file():
            continue
        name = file.name.removesuffix(ending)
        if name in found:
            raise ConfigError(f"{file}: {found[name].name} is there too; one of them has to go")
        found[name] = file
    return found


def _read(file: Path) -> Any:
    try:
        data = file.read_bytes()
        return json.loads(gzip.decompress(data) if file.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError) as exc:
        raise ConfigError(f"{file}: cannot be read: {exc}") from exc


def _truth(file: Path, told: Any) -> tuple[tuple[Picture, ...], tuple[Category, ...], Found, Flags]:
    try:
        entries, images, classes = told["annotations"], told["images"], told["categories"]
        pictures = sorted((_picture(one) for one in images), key=lambda one: one.id)
        categories = [Category(int(one["id"]), str(one["name"])) for one in classes]
        crowd = np.array([bool(one.get("iscrowd", 0)) for one in entries], dtype=np.bool_)
    except (OverflowError, AttributeError, KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"{file}: expected COCO's instances format: {exc!r}") from exc
    _once(file, "image", [one.id for one in pictures])
    _once(file, "category", [one.id for one in categories])
    _once(file, "category", [one.name.casefold() for one in categories])
    places = {one.id: n for n, one in enumerate(pictures)}
    numbers = {one.id: n for n, one in enumerate(categories)}
    found = _lines(file, entries, places, numbers, scored=False)
    if not (~crowd).any():
        raise ConfigError(f"{file}: no object is marked on any image")
    return tuple(pictures), tuple(categories), columns(found), crowd


def _picture(entry: Any) -> Picture:
    picture = Picture(int(entry["id"]), float(entry["width"]), float(entry["height"]))
    if not (picture.width > 0 and picture.height > 0):
        raise ValueError(f"image {picture.id}: {picture.width:g} × {picture.height:g} pixels")
    return picture


def _once(file: Path, what: str, names: Iterable[object]) -> None:
    seen: set[object] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"{file}: {what} {name} is there twice")
        seen.add(name)


def _lines(
    file: Path, entries: Any, places: Mapping[int, int], numbers: Mapping[int, int], *, scored: bool
) -> list[Line]:
    if not isinstance(entries, list):
        raise ConfigError(f"{file}: expected a list of boxes in COCO's format")
    try:
        return [_line(one, places, numbers, scored) for one in entries]
    except (OverflowError, KeyError, TypeError, ValueError):
        return [_named(file, n, one, places, numbers, scored) for n, one in enumerate(entries)]


def _named(
    file: Path, n: int, entry: Any, places: Mapping[int, int], numbers: Mapping[int, int], scored: bool
) -> Line:
    """The same again, slowly: to say which entry is wrong."""
    try:
        return _line(entry, places, numbers, scored)
    except KeyError as exc:
        raise ConfigError(
            f"{file}: entry {n}: {line(repr(exc.args[0]), 80)} is missing or unknown: {line(entry, 200)}"
        ) from exc
    except (OverflowError, TypeError, ValueError) as exc:
        raise ConfigError(f"{file}: entry {n}: {exc}: {line(entry, 200)}") from exc


def _line(entry: Any, places: Mapping[int, int], numbers: Mapping[int, int], scored: bool) -> Line:
    x, y, width, height = (float(number) for number in entry["bbox"])
    score = float(entry["score"]) if scored else 1.0
    if not (0 <= score <= 1):
        raise ValueError(f"score {score:g} is not from 0 to 1")
    if not all(math.isfinite(one) for one in (x, y, width, height)) or width < 0 or height < 0:
        raise ValueError("bbox is not x, y, width, height in pixels")
    return places[entry["image_id"]], numbers[entry["category_id"]], score, x, y, width, height


def _first(lines: Sequence[Line], images: int) -> Found:
    return columns([one for one in lines if one[0] < images])
