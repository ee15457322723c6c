"""Copies of what a search found, in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from windmill.errors import ConfigError, ImageError
from windmill.index.vectors import Hit
from windmill.plain import line

_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Copied:
    """The files that were written, and a line for each original that could not be read."""

    files: tuple[Path, ...]
    missing: tuple[str, ...]


def copy(hits: Sequence[Hit], read: Callable[[Hit], bytes], folder: Path, now: datetime) -> Copied:
    """Writes each hit's file as `match_YYYYMMDD_HHMMSS_rank001.jpg`, with the suffix that it has.

    Nothing is written over: where a copy of this second is there, the next free second is taken. `read`
    raises `ImageError` where the original is gone. Raises `ConfigError` where nothing (more) can be written.
    """
    files: list[Path] = []
    missing: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = _free(folder, now)
        for rank, hit in enumerate(hits, 1):
            try:
                data = read(hit)
            except ImageError as exc:
                missing.append(f"image {hit.image_id}: {line(exc)}")
                continue
            target = folder / f"match_{stamp}_rank{rank:03}{suffix(hit.path)}"
            _write(target, data)
            files.append(target)
    except OSError as exc:
        done = f"; {len(files)} of {len(hits)} files are there" if files else ""
        raise ConfigError(f"--copy-results {folder}: cannot write there: {exc.strerror}{done}") from exc
    return Copied(tuple(files), tuple(missing))


def suffix(path: str) -> str:
    """`.jpg` of a path or an address; "" where what it ends with is no suffix."""
    name = urlsplit(path).path if "://" in path else path
    found = PurePosixPath(name).suffix
    return found if _SUFFIX.fullmatch(found) else ""


def _free(folder: Path, now: datetime) -> str:
    while True:
        stamp = f"{now:%Y%m%d_%H%M%S}"
        if not any(folder.glob(f"match_{stamp}_*")):
            return stamp
        now += timedelta(seconds=1)


def _write(target: Path, data: bytes) -> None:
    """All of it or nothing."""
    with target.open("xb") as file:
        try:
            file.write(data)
            file.flush()
        except OSError:
            with suppress(OSError):
                target.unlink()
            raise
