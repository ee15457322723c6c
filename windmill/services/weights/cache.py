"""The folder where weights lie: `WINDMILL_CACHE`, which can be copied to another machine as it is.

<package>-<version>/…   files as in their package or repository; .windmill.json: hashes of the first pull
derived/…               what was made of them once (conversions)
downloads/…             what has come of a download so far
locks/…
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from windmill.errors import ConfigError
from windmill.services.weights.entries import File

log = logging.getLogger(__name__)

_RECORD = ".windmill.json"


def cache_folder() -> Path:
    """WINDMILL_CACHE, or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("WINDMILL_CACHE") or Path(base) / "windmill")


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time does what `name` stands for; the lock goes with its process."""
    path = cache_folder() / "locks" / f"{name}.lock"
    with disk():
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is at it; waiting", name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def disk() -> Iterator[None]:
    """What the disk refuses (full, read-only, a folder in a file's place) is said with the place."""
    try:
        yield
    except OSError as exc:
        place = exc.filename2 or exc.filename or cache_folder()
        raise ConfigError(f"{place}: {exc.strerror or exc} (WINDMILL_CACHE names another folder)") from exc


def sha256(path: Path) -> str:
    """Of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put(path: Path, stream: IO[bytes]) -> None:
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def recorded(folder: Path) -> Mapping[str, File]:
    """What is known of files in `folder` whose hashes no manifest names: path → as they first came."""
    path = folder / _RECORD
    if not path.is_file():
        return {}
    with disk():
        text = path.read_text("utf-8")
    try:
        return {name: File(**about) for name, about in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as exc:
        raise ConfigError(
            f"{path}: not as Windmill wrote it ({exc}); delete it to have it made anew"
        ) from exc


def record(folder: Path, files: Mapping[str, File]) -> None:
    """Remembers `files` of `folder`, with what is known already."""
    _write(folder, {**recorded(folder), **files})


def unrecord(folder: Path, names: Collection[str]) -> None:
    """Forgets some files of `folder`."""
    _write(folder, {name: about for name, about in recorded(folder).items() if name not in names})


def _write(folder: Path, files: Mapping[str, File]) -> None:
    known = {name: asdict(about) for name, about in files.items()}
    with disk():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f"{_RECORD}.{os.getpid()}"
        scratch.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        scratch.replace(folder / _RECORD)


def forget(folder: Path) -> None:
    """What comes into `folder` next counts as the first."""
    with disk():
        (folder / _RECORD).unlink(missing_ok=True)


def listed(folder: Path) -> list[str]:
    """The files below `folder`, by their paths in it; hidden ones are nobody's weights."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
