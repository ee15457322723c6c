"""What comes back from a cluster's boxes goes into the index, here, where the index is."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from windmill.engines.building import Built
from windmill.engines.looking import Hashes, Indexed, Part, Stopped, hashes, vectors
from windmill.errors import ClusterError, ConfigError
from windmill.index.store import VectorStore
from windmill.index.vectors import Floats, Ids
from windmill.model import Numbering
from windmill.progress import Meter

_SEGMENT = 1000  # images that are written at once
_LATEST = 30.0  # seconds after which they are written, however few
_NAMED = 1000  # bad files that are kept by name


class Gathering:
    """A run: puts parts into the store, a segment at a time, and knows what became of all files.

    Two boxes may embed the same content, and a task that is tried again sends what it sent before: an image
    is in the index, and is counted, once.
    """

    def __init__(self, store: VectorStore, meter: Meter) -> None:
        """Raises `ConfigError` for an index whose ids only the database can give."""
        if store.numbering is not Numbering.CONTENT:
            raise ConfigError(
                "this index has the ids of the database: add to it by --engine queue, or name another prefix"
            )
        self._store, self._meter = store, meter
        self.indexed = Indexed.of(store)
        self._waiting: dict[int, tuple[str, Floats]] = {}
        self._written = time.monotonic()
        self._ids: list[Ids] = [np.zeros(0, np.int64)]
        self._looked: list[Hashes] = [hashes(())]
        self._known = self._without = self._ignored = self._bad_count = self._done = self._embedded = 0
        self._bad: list[str] = []

    def take(self, parts: Iterable[Part | Stopped], total: int | None = None) -> None:
        """Until there are no more; what has come is written, even where that is interrupted.

        Raises `ClusterError`, `StoreError`.
        """
        try:
            for part in parts:
                if isinstance(part, Stopped):
                    raise ClusterError(part.reason)
                self._take(part)
                self._meter.update(self._done, total)
        finally:
            self._write()

    def known(self, path: str) -> bool:
        """True, and counted, if the index has this path."""
        found = self.indexed.has_path(path)
        self._known += found
        self._done += found
        return found

    def ignore(self) -> None:
        """Counts a file that no box was shown, as it is no photo."""
        self._ignored += 1
        self._done += 1

    def refuse(self, line: str) -> None:
        """Counts a bad file that no box was shown, or that none could read."""
        self._tell([line])
        self._done += 1

    @property
    def looked(self) -> Hashes:
        """The hashes of the paths of all files that boxes have told of, ascending."""
        return np.unique(np.concatenate(self._looked))

    def built(self) -> Built:
        new = np.setdiff1d(np.concatenate(self._ids), self.indexed.ids)
        copies = self._embedded - len(new)
        return Built(
            added=len(new),
            known=self._known + copies,
            bad=tuple(self._bad),
            unnamed=self._bad_count - len(self._bad),
            without=self._without,
            ignored=self._ignored,
        )

    def _take(self, part: Part) -> None:
        found = part.vectors
        self._waiting.update(
            zip(found.ids.tolist(), zip(found.paths, found.embeddings, strict=True), strict=True)
        )
        self._ids.append(found.ids)
        self._looked.append(part.looked)
        self._embedded += len(found)
        self._known += part.known
        self._without += part.without
        self._ignored += part.ignored
        self._done += len(part.looked)
        self._tell(part.bad)
        if len(self._waiting) >= _SEGMENT or time.monotonic() - self._written > _LATEST:
            self._write()

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._bad_count += 1
            if len(self._bad) < _NAMED:
                self._bad.append(line)

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._written = time.monotonic()
        if waiting:
            self._store.upsert(vectors(waiting, self._store.embedder.dimension))
