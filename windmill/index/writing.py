"""How an index worker writes: vectors into the index, then the ledger, and all of one model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np

from windmill.errors import ConfigError, OtherEmbedder, ServiceChanged, StoreError, StoreUnavailable
from windmill.handlers.base import Handler
from windmill.index.store import VectorStore
from windmill.index.vectors import Embedder, Vectors
from windmill.middleware.base import Middleware
from windmill.model import EmbeddingRow, Handled, Job, Outcome
from windmill.writing import Writer

_REMEDY = "start the service with that model, or the worker with another INDEX_PREFIX"
_LOOK = 5.0  # seconds between questions to a service that has another model
_TRY = 60.0  # seconds after which it is tried again, whatever it tells


class IndexWriter:
    """A `writing.Writer`: the vectors of a batch are one upsert, then `save` writes its other rows.

    So what the ledger says is done is in the index. The first vectors say whose the index is that `create`
    opens. No trouble with it is a job's: the committer waits until it is over, as for the database.
    """

    def __init__(
        self,
        create: Callable[[Embedder], VectorStore],
        save: Writer,
        added: Callable[[VectorStore], None] = lambda _: None,
    ) -> None:
        """`added` is called with the store when vectors were added to it."""
        self._create = create
        self._save = save
        self._added = added
        self._store: VectorStore | None = None
        self._refused: tuple[Embedder, str] | None = None  # whom the index did not take, and why
        self._written: set[EmbeddingRow] = set()  # by the latest upsert, and not saved yet

    def __call__(self, batch: Sequence[Handled]) -> Sequence[Outcome]:
        """Raises `StoreUnavailable` while vectors cannot be written, and `ServiceChanged`."""
        rows = [row for handled in batch for row in handled.outcome.rows if isinstance(row, EmbeddingRow)]
        if not self._written.issuperset(rows):  # else it is called again, since the database was away
            self._upsert(rows)
        saved = self._save(batch)
        settled = {row.image_id for handled in batch for row in handled.outcome.rows}
        self._written = {row for row in self._written if row.image_id not in settled}
        return saved

    def check(self, row: EmbeddingRow) -> None:
        """Raises `ServiceChanged` where a vector is not of the index's model; safe in any thread."""
        embedder, store, refused = embedder_of(row), self._store, self._refused
        if store is not None and store.embedder != embedder:
            why = f"the index has vectors of {store.embedder}, and the service answers as {embedder}"
            raise ServiceChanged(f"{why}: {_REMEDY}", service=row.service)
        if refused is not None and refused[0] == embedder:
            raise ServiceChanged(f"{refused[1]}; {_REMEDY}", service=row.service)

    def forgive(self) -> None:
        """Has a model that was refused before be tried again."""
        self._refused = None

    def _upsert(self, rows: Sequence[EmbeddingRow]) -> None:
        latest = list({row.image_id: row for row in rows}.values())
        try:
            if self._store is None:
                self._store = self._opened(latest[0])
            for row in latest:
                self.check(row)
            self._store.upsert(_vectors(latest))
            self._written = set(rows)
            self._added(self._store)  # it may fail: what is called again then does not write these once more
        except StoreUnavailable:
            raise
        except (StoreError, ConfigError) as exc:  # a person has to mend something, and no job is lost by then
            raise StoreUnavailable(f"the index cannot be written: {exc}") from exc

    def _opened(self, row: EmbeddingRow) -> VectorStore:
        self.check(row)
        embedder = embedder_of(row)
        try:
            return self._create(embedder)
        except OtherEmbedder as exc:
            self._refused = (embedder, str(exc))
            raise ServiceChanged(str(exc), service=row.service) from exc


class OneModel:
    """A handler that lets no other model's vectors into the index, and the `ports.Gate` that is shut while
    the service has another: its jobs go back to their queue, and none is spent on it.

    `told` asks the service which model it has; "" where it does not tell.
    """

    def __init__(
        self,
        handler: Handler,
        index: IndexWriter,
        told: Callable[[], str],
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._handler = handler
        self._index = index
        self._told = told
        self._middleware = middleware
        self._lock = threading.Lock()
        self._other: ServiceChanged | None = None
        self._version = ""  # of the other

    def __call__(self, job: Job) -> Outcome:
        if self._other is not None:
            raise ServiceChanged(str(self._other), service=self._other.service)
        outcome = self._handler(job)
        for row in outcome.rows:
            if isinstance(row, EmbeddingRow):
                self._check(row)
        return outcome

    def failed(self, job: Job, error: Exception) -> Outcome:
        return self._handler.failed(job, error)

    def postponed(self, job: Job, error: Exception) -> Outcome:
        return self._handler.postponed(job, error)

    @property
    def shut(self) -> bool:
        """See `ports.Gate`."""
        return self._other is not None

    def wait(self, stop: threading.Event) -> None:
        """Asks the service now and then, until it has another model than the one that was shut out.

        After a while it is tried in any case: it may have been restarted between its reply and the first
        question, which then told the right model.
        """
        looks = 0
        while not stop.wait(_LOOK):
            looks += 1
            now = self._told()
            if (now and now != self._version) or looks * _LOOK >= _TRY:
                self._open()
                return

    def _check(self, row: EmbeddingRow) -> None:
        try:
            self._index.check(row)
        except ServiceChanged as error:
            self._shut(error)
            raise

    def _shut(self, error: ServiceChanged) -> None:
        with self._lock:
            if self._other is None:
                self._other, self._version = error, self._told()
                for middleware in self._middleware:
                    middleware.parked(str(error))

    def _open(self) -> None:
        with self._lock:
            self._index.forgive()
            self._other = None
            for middleware in self._middleware:
                middleware.resumed()


def embedder_of(row: EmbeddingRow) -> Embedder:
    """Whose vector it is."""
    return Embedder(
        service=row.service,
        name=row.model_name,
        version=row.model_version,
        dimension=len(row.vector) // np.dtype(np.float32).itemsize,
    )


def _vectors(rows: Sequence[EmbeddingRow]) -> Vectors:
    return Vectors(
        ids=np.array([row.image_id for row in rows], np.int64),
        paths=tuple(row.place for row in rows),
        embeddings=np.stack([np.frombuffer(row.vector, np.float32) for row in rows]),
    )
