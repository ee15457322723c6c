"""Notes on the files of a collection: what each was when it was looked at, so that it is not read again.

They are a hint: the index says what is in it. Where they are lost, every file is read once more, and none is
embedded again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from windmill.errors import StoreError, StoreUnavailable
from windmill.index.vectors import Embedder, Vectors

_PATIENCE = 60.0  # seconds for another process that writes notes on the same index
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY,
    size INTEGER,      -- bytes; NULL where it is known from the index alone
    changed INTEGER,   -- its modification time, ns since 1970
    number INTEGER NOT NULL,
    embedded INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_number ON files (number);
CREATE TABLE IF NOT EXISTS doubtful (number INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS made_with (embedder TEXT NOT NULL);
"""
_ON = """
SELECT path, size, changed, number, embedded FROM files WHERE path IN (SELECT value FROM json_each(?))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """By what one tells that a file is still the same: its size in bytes, and when it changed (ns)."""

    size: int
    changed: int

    @classmethod
    def of(cls, path: str) -> Stamp:
        """Raises `OSError`, and `ValueError` for what no file can be called."""
        about = os.stat(path)  # noqa: PTH116 -- a Path for each of millions costs more than the look
        return cls(size=about.st_size, changed=about.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A file with its content's number, which is in the index if it was `embedded`; else the model makes no
    vector of it. `stamp` is None where only the index told of the file."""

    path: str
    stamp: Stamp | None
    number: int
    embedded: bool = True


class Notes:
    """The notes that lie at `path`, or, without one, some for this run only. Thread-safe.

    They are of one embedder: in what one finds nothing to embed, another may. Those of another are forgotten.
    Every call raises `StoreError`.
    """

    def __init__(self, path: Path | None, embedder: Embedder) -> None:
        self._where = str(path or "")
        self._lock = threading.Lock()
        with self._using():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._where, timeout=_PATIENCE, check_same_thread=False)
            self._db.executescript(_TABLES)
            self._begin(str(embedder))

    def _begin(self, embedder: str) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if self._db.execute("SELECT embedder FROM made_with").fetchall() == [(embedder,)]:
                return
            self._db.execute("DELETE FROM files")
            self._db.execute("DELETE FROM doubtful")
            self._db.execute("DELETE FROM made_with")
            self._db.execute("INSERT INTO made_with VALUES (?)", (embedder,))

    def close(self) -> None:
        self._db.close()

    def learn(self, vectors: Vectors) -> None:
        """Notes what the index tells of files on which there is no note."""
        rows = zip(vectors.paths, vectors.ids.tolist(), strict=True)
        with self._using(), self._db:
            self._db.executemany("INSERT OR IGNORE INTO files VALUES (?, NULL, NULL, ?, 1)", rows)

    def on(self, paths: Sequence[str]) -> dict[str, Note]:
        """The notes on those of these files on which there are some."""
        with self._using():
            rows = self._db.execute(_ON, [json.dumps(list(paths))]).fetchall()
        return {row[0]: _note(*row) for row in rows}

    def write(self, notes: Sequence[Note], doubtful: Iterable[int]) -> None:
        """Replaces the notes on these files; `doubtful`: images that may now lie elsewhere, or nowhere."""
        with self._using(), self._db:
            self._db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", map(_row, notes))
            self._db.executemany("INSERT OR IGNORE INTO doubtful VALUES (?)", ((one,) for one in doubtful))

    def doubtful(self, most: int) -> list[int]:
        """Some images that may lie elsewhere than the index says."""
        with self._using():
            rows = self._db.execute("SELECT number FROM doubtful ORDER BY number LIMIT ?", (most,))
            return [number for (number,) in rows]

    def settled(self, numbers: Iterable[int]) -> None:
        with self._using(), self._db:
            self._db.executemany("DELETE FROM doubtful WHERE number = ?", ((one,) for one in numbers))

    def places(self, number: int) -> list[str]:
        """The files that had this content when they were looked at."""
        with self._using():
            rows = self._db.execute("SELECT path FROM files WHERE number = ? ORDER BY path", (number,))
            return [path for (path,) in rows]

    @contextmanager
    def _using(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except OSError as exc:
            raise StoreError(f"{self._where}: cannot keep notes on files: {exc.strerror}") from exc
        except sqlite3.Error as exc:
            raise _translated(exc, self._where) from exc


def _translated(error: sqlite3.Error, where: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # not all of the library's own have one
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"{where}: its disk is full: free some; the index is whole")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        remedy = "delete it: all files are read once more then, and none is embedded again"
        return StoreError(f"{where}: the notes on files are damaged; {remedy}")
    return StoreError(f"{where}: cannot keep notes on files: {error}")


def _note(path: str, size: int | None, changed: int | None, number: int, embedded: int) -> Note:
    stamp = None if size is None or changed is None else Stamp(size=size, changed=changed)
    return Note(path=path, stamp=stamp, number=number, embedded=bool(embedded))


def _row(note: Note) -> tuple[str, int | None, int | None, int, bool]:
    stamp = note.stamp
    size, changed = (None, None) if stamp is None else (stamp.size, stamp.changed)
    return note.path, size, changed, note.number, note.embedded
