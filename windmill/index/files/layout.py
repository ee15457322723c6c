"""Where the files of an index lie, and how they get there whole: the only place that spells their names."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from windmill.errors import StoreError, StoreUnavailable

_SEGMENT = re.compile(r"(\d{1,18})\.(parquet|faiss)")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names at a prefix, say `photos`: `photos.parquet`, `photos.faiss`, `photos.meta.json`, and the
    folder `photos/` with the segments that are not merged yet."""

    prefix: Path

    @property
    def meta(self) -> Path:
        return self._beside("meta.json")

    @property
    def parquet(self) -> Path:
        return self._beside("parquet")

    @property
    def faiss(self) -> Path:
        return self._beside("faiss")

    @property
    def lists(self) -> Path:
        """The inverted lists of a large index, which are read from the disk."""
        return self._beside("ivfdata")

    @property
    def segments(self) -> Path:
        return self.prefix / "segments"

    @property
    def damaged(self) -> Path:
        """Where segments are put that cannot be read."""
        return self.prefix / "damaged"

    @property
    def coming(self) -> Layout:
        """What a merge is making."""
        return Layout(self.prefix / "next" / self.prefix.name)

    @property
    def ready(self) -> Layout:
        """What a merge has made, and moves into its place."""
        return Layout(self.prefix / "ready" / self.prefix.name)

    def named(self, ending: str) -> Path:
        """The merged file with this ending."""
        return self._beside(ending)

    def segment(self, number: int) -> Path:
        return self.segments / f"{number}.parquet"

    def segment_faiss(self, number: int) -> Path:
        return self.segments / f"{number}.faiss"

    def numbers(self, kind: str = "parquet") -> list[int]:
        """The segments there are, oldest first."""
        return _numbers(self.segments, kind)

    def set_aside(self) -> list[int]:
        """The segments that were damaged."""
        return _numbers(self.damaged, "parquet")

    @contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[None]:
        """Holds the right to merge; of those who have died it is free. Raises `StoreUnavailable` where
        somebody else has it and `wait` is false."""
        with bordered(self.prefix):
            self.prefix.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.prefix / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as exc:
                raise StoreUnavailable(f"{self.prefix}: somebody is merging this index just now") from exc
            yield
        finally:
            os.close(handle)

    def _beside(self, suffix: str) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}.{suffix}")


def _numbers(folder: Path, kind: str) -> list[int]:
    with bordered(folder):
        paths = list(folder.iterdir()) if folder.exists() else []
    found = (_SEGMENT.fullmatch(path.name) for path in paths)
    return sorted(int(match[1]) for match in found if match and match[2] == kind)


@contextmanager
def bordered(path: Path) -> Iterator[None]:
    """Errors of files become ours: a full disk passes once there is room, others do not."""
    try:
        yield
    except OSError as exc:
        where = exc.filename or path
        if exc.errno in _FULL:
            raise StoreUnavailable(f"{where}: its disk is full: free some; the index is whole") from exc
        raise StoreError(f"{where}: {exc.strerror or exc}") from exc


def flush(path: Path) -> None:
    """Has a file, or the names in a folder, on the disk when it returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(path: Path, data: bytes) -> None:
    """Replaces a file at once and for good."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    flush(beside)
    beside.replace(path)
    flush(path.parent)
