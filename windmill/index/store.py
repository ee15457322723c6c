"""What an index asks of a vector store: one small port, with an adapter for each kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors
from windmill.model import Numbering


class VectorStore(Protocol):
    """Vectors by image id, all of one embedder.

    Saving is an upsert: twice is once. Every call raises `StoreUnavailable` while the store is away and
    `IndexDamaged` where what it holds cannot be read.
    """

    @property
    def embedder(self) -> Embedder:
        """Whose vectors these are."""
        ...

    @property
    def numbering(self) -> Numbering:
        """What their ids are."""
        ...

    def upsert(self, vectors: Vectors) -> None:
        """Has them all when it returns; what had their ids before is replaced. Raises `StoreError`."""
        ...

    def delete(self, ids: Ids) -> None:
        """Forgets these images; those that are not there are none."""
        ...

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        """Up to `most` images nearest to `query` (dimension), best first, ties by id.

        `among`: only these images (ascending, distinct); the search itself looks at no others. The hits are
        those of `vectors.best`.
        """
        ...

    def fetch(self, ids: Ids) -> Vectors:
        """Those of these images that are there, by ascending id."""
        ...

    def count(self) -> int:
        """How many images there are."""
        ...

    def scan(self) -> Iterator[Vectors]:
        """All of them, by ascending id, in parts of a bounded size."""
        ...

    def settle(self) -> None:
        """Makes what it needs to search fast in what was saved since. Takes minutes after much was; until
        then, searches are as right, and slower. To be called at the end of a load, not after each upsert."""
        ...

    def close(self) -> None:
        """Lets go of files and connections. What was saved stays; nothing else may be asked after it."""
        ...
