"""Photos of which it is known what they show: a folder with `photos.json` (docs/services.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windmill.errors import ConfigError
from windmill.model import Box

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Object:
    """Something that a photo shows, under one of COCO's names."""

    label: str
    box: Box


@dataclass(frozen=True, slots=True)
class Known:
    """A photo, the objects on it, and what people wrote below it."""

    path: Path
    objects: tuple[Object, ...]
    captions: tuple[str, ...]

    def read(self) -> bytes:
        return self.path.read_bytes()


def photos(folder: Path, limit: int | None = None) -> Sequence[Known]:
    """The first `limit` photos of the folder. Raises `ConfigError` that names the entry."""
    path = folder / "photos.json"
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: expected a list of photos")
    return [_known(folder, f"{path}: entry {n}", entry) for n, entry in enumerate(entries[:limit])]


def people(folder: Path) -> Mapping[str, Sequence[Path]]:
    """Photos of faces by the person whom they show: a folder for each. Raises `ConfigError`."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    found = {one.name: _pictures(one) for one in sorted(folder.iterdir()) if one.is_dir()}
    shown = {name: paths for name, paths in found.items() if paths}
    if len(shown) < 2 or all(len(paths) < 2 for paths in shown.values()):
        raise ConfigError(f"{folder}: expected a folder for each person, some with several photos")
    return shown


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)


def _known(folder: Path, where: str, entry: Any) -> Known:
    try:
        path = folder / entry["file_name"]
        objects = tuple(_objects(entry["objects"]))
        captions = tuple(str(one) for one in entry.get("captions", ()))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as exc:
        raise ConfigError(f"{where}: expected file_name and objects (label, bbox): {exc!r}") from exc
    if not path.is_file():
        raise ConfigError(f"{where}: {path} is not there")
    return Known(path, objects, captions)


def _objects(entries: Any) -> Iterator[Object]:
    for entry in entries:
        x, y, width, height = (float(number) for number in entry["bbox"])
        yield Object(str(entry["label"]), Box(x=x, y=y, width=width, height=height))
