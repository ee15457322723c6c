"""A vector store in the database: a table of pgvector's."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from windmill.errors import ConfigError
from windmill.index import about
from windmill.index.about import About
from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors, accepted, best, checked
from windmill.model import Numbering
from windmill.postgres.vectors import VectorTable
from windmill.settings import Settings

_NAME = re.compile(r"[a-z0-9_]{1,40}")  # with what goes round it, PostgreSQL keeps 63 bytes of a name
_PART = 5_000  # images that are saved or read at once


def create(name: str, embedder: Embedder, numbering: Numbering, settings: Settings) -> PgvectorStore:
    """The index `name`, begun if there is none. Raises `OtherEmbedder` where it is another model's,
    `ConfigError` where the database has no pgvector, `StoreUnavailable`."""
    table, place = _table(name, settings)
    mine = About(embedder, numbering)
    found = about.read(table.create(mine.text(), embedder.dimension), place)
    mine.check(found, place)
    return PgvectorStore(table, found)


def open_index(name: str, settings: Settings) -> PgvectorStore:
    """The index `name`. Raises `ConfigError` where there is none."""
    table, place = _table(name, settings)
    text = table.about()
    if text is None:
        raise ConfigError(f"{place}: no index there; windmill index load PREFIX --store {place} fills one")
    return PgvectorStore(table, about.read(text, place))


def _table(name: str, settings: Settings) -> tuple[VectorTable, str]:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"pgvector:{name}: a name has 1 to 40 of a-z, 0-9 and _")
    return VectorTable(settings, name), f"pgvector:{name}"


class PgvectorStore:
    """A `store.VectorStore`. Without a graph (see `settle`), or confined to 50,000 images, a search is
    exact."""

    def __init__(self, table: VectorTable, known: About) -> None:
        self._table = table
        self.embedder, self.numbering = known.embedder, known.numbering

    def upsert(self, vectors: Vectors) -> None:
        """See `store.VectorStore`; 5,000 images in a transaction."""
        accepted(vectors, self.embedder)
        for start in range(0, len(vectors), _PART):
            part = slice(start, start + _PART)
            self._table.save(vectors.ids[part], vectors.paths[part], vectors.embeddings[part])

    def delete(self, ids: Ids) -> None:
        self._table.delete(ids)

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        (asked,) = checked(query[None], self.embedder)
        rows = self._table.nearest(asked, most, among)
        ids = np.array([image_id for image_id, _, _ in rows], np.int64)
        scores = np.array([score for _, _, score in rows], np.float32)
        return best(ids, [path for _, path, _ in rows], scores, most)

    def fetch(self, ids: Ids) -> Vectors:
        found, paths, embeddings = self._table.fetch(ids, self.embedder.dimension)
        return Vectors(ids=found, paths=paths, embeddings=embeddings)

    def count(self) -> int:
        return self._table.count()

    def scan(self) -> Iterator[Vectors]:
        last = -1
        while True:
            ids, paths, embeddings = self._table.after(last, _PART, self.embedder.dimension)
            if not len(ids):
                return
            yield Vectors(ids=ids, paths=paths, embeddings=embeddings)
            last = int(ids[-1])

    def settle(self) -> None:
        """See `store.VectorStore`: makes a graph (HNSW) of 20,000 images or more, once. Later upserts add to
        it, at a quarter of the pace."""
        self._table.settle(self.embedder.dimension)

    def close(self) -> None:
        self._table.close()
