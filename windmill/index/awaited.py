"""An index that somebody else begins: empty until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from windmill.errors import ConfigError, IndexDamaged, OtherEmbedder
from windmill.index.store import VectorStore
from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors
from windmill.model import Numbering


class Awaited:
    """A `store.VectorStore` that `opening` opens once it is there, and raises `ConfigError` until then."""

    def __init__(self, opening: Callable[[], VectorStore]) -> None:
        self._opening = opening
        self._store: VectorStore | None = None

    @property
    def embedder(self) -> Embedder:
        return self._there().embedder

    @property
    def numbering(self) -> Numbering:
        return self._there().numbering

    def upsert(self, vectors: Vectors) -> None:
        self._there().upsert(vectors)

    def delete(self, ids: Ids) -> None:
        if self.begun():
            self._there().delete(ids)

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        return self._there().search(query, most, among) if self.begun() else []

    def fetch(self, ids: Ids) -> Vectors:
        if self.begun():
            return self._there().fetch(ids)
        return Vectors(ids=np.empty(0, np.int64), paths=(), embeddings=np.empty((0, 0), np.float32))

    def count(self) -> int:
        return self._there().count() if self.begun() else 0

    def scan(self) -> Iterator[Vectors]:
        return self._there().scan() if self.begun() else iter(())

    def settle(self) -> None:
        if self.begun():
            self._there().settle()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def begun(self) -> bool:
        """Whether it is there. Raises `IndexDamaged`, and `OtherEmbedder` where it is another one's."""
        try:
            self._there()
        except (IndexDamaged, OtherEmbedder):
            raise
        except ConfigError:
            return False
        return True

    def _there(self) -> VectorStore:
        if self._store is None:
            self._store = self._opening()
        return self._store
