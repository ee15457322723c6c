"""What takes one caller at a time, lent to the threads of a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from windmill.core.where import Condition
from windmill.errors import ConfigError, ServiceUnavailable, StoreUnavailable
from windmill.findings import Findings
from windmill.index.searching import Known, QueryEmbedder
from windmill.index.vectors import Embedder, Floats, Ids
from windmill.model import Numbering


class Lent:
    """A `searching.Known` for several threads: each call has one of a few connections to itself.

    That the database is wrongly set up is no fault of who asks: a `StoreUnavailable`.
    """

    def __init__(self, connections: Iterable[Known]) -> None:
        self._free: queue.SimpleQueue[Known] = queue.SimpleQueue()
        for one in connections:
            self._free.put(one)

    def matching(self, where: Condition, numbering: Numbering) -> Ids:
        """See `searching.Facts`."""
        with self._one() as known:
            return known.matching(where, numbering)

    def of(self, ids: Ids, numbering: Numbering) -> Mapping[int, Findings]:
        """See `searching.Known`."""
        with self._one() as known:
            return known.of(ids, numbering)

    @contextmanager
    def _one(self) -> Iterator[Known]:
        one = self._free.get()
        try:
            yield one
        except ConfigError as exc:
            raise StoreUnavailable(str(exc)) from exc
        finally:
            self._free.put(one)


class OneModel:
    """A `QueryEmbedder` that is loaded when the first query needs it, and asked by one thread at a time."""

    def __init__(self, service: str, load: Callable[[], QueryEmbedder]) -> None:
        self._service, self._load = service, load
        self._model: QueryEmbedder | None = None
        self._lock = threading.RLock()

    def __call__(self) -> OneModel:
        """Itself, loaded. Raises `ServiceUnavailable`: no fault of who asked."""
        self._loaded()
        return self

    @property
    def embedder(self) -> Embedder:
        return self._loaded().embedder

    def text(self, words: str) -> Floats:
        """See `searching.QueryEmbedder`."""
        with self._lock:
            return self._loaded().text(words)

    def image(self, name: str, data: bytes) -> Floats:
        """See `searching.QueryEmbedder`."""
        with self._lock:
            return self._loaded().image(name, data)

    def _loaded(self) -> QueryEmbedder:
        with self._lock:
            if self._model is None:
                try:
                    self._model = self._load()
                except ConfigError as exc:
                    raise ServiceUnavailable(str(exc), service=self._service) from exc
            return self._model
