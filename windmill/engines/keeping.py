"""Keeps what was embedded: a segment at a time, in a thread of its own, so that the model never waits."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from windmill.engines.notes import Note, Notes
from windmill.errors import StoreError
from windmill.index.store import VectorStore
from windmill.index.vectors import Floats, Ids, Vectors

_FEW = 100_000  # numbers that are looked up one by one before they join the array
_AT_ONCE = 1000  # images that are looked at again at once


class Known:
    """Which images an index has: 8 bytes for each. One thread adds; others may ask meanwhile."""

    def __init__(self, parts: Iterable[Ids] = ()) -> None:
        self._many = np.unique(np.concatenate([np.empty(0, np.int64), *parts]))
        self._few: set[int] = set()

    def __contains__(self, number: int) -> bool:
        if number in self._few:
            return True
        many = self._many  # looked at after `_few`, which empties into it
        place = int(np.searchsorted(many, number))
        return place < len(many) and int(many[place]) == number

    def add(self, number: int) -> None:
        self._few.add(number)
        if len(self._few) >= _FEW:
            self._many = np.union1d(self._many, np.array(list(self._few), np.int64))
            self._few = set()  # not before they are in the other: who asks finds them in one of the two


class Keeper:
    """Puts vectors into a store and notes into `notes`, `segment` images at once, or what there is after so
    many `seconds`. Notes follow what they speak of: who dies between them only reads a few files again.

    On leaving it writes what it has, whatever the reason, unless the store is what failed.
    """

    def __init__(self, store: VectorStore, notes: Notes, *, segment: int, seconds: float) -> None:
        self._store, self._notes = store, notes
        self._segment, self._seconds = segment, seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segments")
        self._writing: Future[None] = Future()
        self._writing.set_result(None)
        self._since = time.monotonic()
        self._begin()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, StoreError):
                self._write()
                self._writing.result()
        finally:
            self._thread.shutdown()

    def add(self, note: Note, vector: Floats, doubtful: Iterable[int]) -> None:
        """An image that is new. Raises the `StoreError` of what was written meanwhile."""
        self._images.append((note.number, note.path, vector))
        self.note(note, doubtful)

    def note(self, note: Note, doubtful: Iterable[int]) -> None:
        """A file that needs no vector, and images that may lie elsewhere since."""
        if not self._notes_to_write:
            self._since = time.monotonic()
        self._notes_to_write.append(note)
        self._doubtful.update(doubtful)
        if len(self._notes_to_write) >= self._segment or time.monotonic() - self._since >= self._seconds:
            self._write()
        elif self._writing.done():
            self._writing.result()  # a full disk is told at once, not a segment later

    def _begin(self) -> None:
        self._images: list[tuple[int, str, Floats]] = []
        self._notes_to_write: list[Note] = []
        self._doubtful: set[int] = set()

    def _write(self) -> None:
        """Hands over what there is; waits while the segment before it is still being written."""
        self._writing.result()
        images, notes, doubtful = self._images, self._notes_to_write, self._doubtful
        self._writing = self._thread.submit(self._put, images, notes, doubtful)
        self._begin()

    def _put(self, images: list[tuple[int, str, Floats]], notes: list[Note], doubtful: set[int]) -> None:
        if images:
            self._store.upsert(_vectors(images))
        self._notes.write(notes, doubtful)


def settle(store: VectorStore, notes: Notes, source: str) -> None:
    """Gives each image that may lie elsewhere than the index says a path where it lies, or deletes it.

    An image is its content. It stays as long as a file that was seen has it; under a path that is gone, or
    that has other content by now, it would be found in vain. Only what lies below `source` is looked for: an
    address cannot be, and of another folder the disk may not be mounted.
    """
    while numbers := notes.doubtful(_AT_ONCE):
        found = store.fetch(np.array(numbers, np.int64))
        moved: list[tuple[int, str, Floats]] = []
        gone: list[int] = []
        for number, path, vector in zip(found.ids.tolist(), found.paths, found.embeddings, strict=True):
            places = _places(notes.places(number), os.path.normpath(Path(source).absolute()))
            if not places:
                gone.append(number)
            elif path not in places:
                moved.append((number, places[0], vector))
        if moved:
            store.upsert(_vectors(moved))
        if gone:
            store.delete(np.array(gone, np.int64))
        notes.settled(numbers)


def _places(noted: Iterable[str], folder: str) -> list[str]:
    """Those that are not gone, first those that were seen. Addresses are below no folder."""
    seen, believed = list[str](), list[str]()
    for place in noted:
        if not Path(os.path.normpath(place)).is_relative_to(folder):
            believed.append(place)
        elif Path(place).exists():
            seen.append(place)
    return seen + believed


def _vectors(images: list[tuple[int, str, Floats]]) -> Vectors:
    numbers, paths, embeddings = zip(*images, strict=True)
    return Vectors(ids=np.array(numbers, np.int64), paths=paths, embeddings=np.stack(embeddings))
