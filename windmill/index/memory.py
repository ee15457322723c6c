"""A vector store in memory: the exact answer that others are held to, and what tests use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors, accepted, best, checked
from windmill.model import Numbering

_PART = 10_000  # images that `scan` gives at once


class MemoryStore:
    """A `store.VectorStore` that compares the query with every vector."""

    def __init__(self, embedder: Embedder, numbering: Numbering = Numbering.IMAGES) -> None:
        self.embedder, self.numbering = embedder, numbering
        self._rows: dict[int, tuple[str, Floats]] = {}

    def upsert(self, vectors: Vectors) -> None:
        accepted(vectors, self.embedder)
        rows = zip(vectors.paths, vectors.embeddings, strict=True)
        self._rows.update(zip(vectors.ids.tolist(), rows, strict=True))

    def delete(self, ids: Ids) -> None:
        for image_id in ids.tolist():
            self._rows.pop(image_id, None)

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        (asked,) = checked(query[None], self.embedder)
        found = self._all() if among is None else self.fetch(among)
        return best(found.ids, found.paths, found.embeddings @ asked, most)

    def fetch(self, ids: Ids) -> Vectors:
        kept = sorted(self._rows.keys() & set(ids.tolist()))
        rows = [self._rows[image_id] for image_id in kept]
        embeddings = np.array([vector for _, vector in rows], np.float32)
        return Vectors(
            ids=np.array(kept, np.int64),
            paths=tuple(path for path, _ in rows),
            embeddings=embeddings.reshape(-1, self.embedder.dimension),
        )

    def count(self) -> int:
        return len(self._rows)

    def scan(self) -> Iterator[Vectors]:
        ids = np.array(sorted(self._rows), np.int64)
        for start in range(0, len(ids), _PART):
            yield self.fetch(ids[start : start + _PART])

    def settle(self) -> None:
        """There is nothing that would make it faster."""

    def close(self) -> None:
        """There is nothing to let go of."""

    def _all(self) -> Vectors:
        return self.fetch(np.array(list(self._rows), np.int64))
