"""A vector store in Milvus: a server, or the embedded Milvus Lite with a file of its own."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException

from windmill.errors import ConfigError, StoreError, StoreUnavailable
from windmill.index import about, milvus_lite
from windmill.index.about import About
from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors, accepted, best, checked
from windmill.model import Numbering

# Seconds: for a connection, an answer, a request of vectors, a collection that is made ready.
_CONNECT, _ANSWER, _TAKEN, _READY = 5.0, 15.0, 60.0, 600.0
_AWAY = 2  # the code of pymilvus' own errors about the connection
_PROPERTY = "windmill"  # of a collection: what `About` says
_TOP = 16_384  # the most hits of one search, and the most rows of one reply
_LISTED = 10_000  # ids that a filter lists without thinking about it
_CHUNK = 100_000  # ids in one filter
_SPARE = 16  # hits beyond those that were asked for, among which ties are told
_BYTES = 8 << 20  # of vectors in one request; servers take 64 MB
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

# What goes wrong reaches us as exceptions; pymilvus would write tracebacks of several screens beside that. It
# has set this level itself just now, as it was imported.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)


def create(address: str, embedder: Embedder, numbering: Numbering, token: str) -> MilvusStore:
    """The index at an address (see `_parsed`), begun if there is none. Raises `OtherEmbedder` where it is
    another model's, `ConfigError`, `StoreUnavailable`."""
    with ExitStack() as undo:
        link = undo.enter_context(closing(_Link(address, token)))
        mine = About(embedder, numbering)
        if link.about() is None:
            link.create(mine)
        link.index()  # again, if need be: whoever made the collection may have been killed before this
        found = link.known()
        mine.check(found, link.place)
        store = MilvusStore(link, found)
        undo.pop_all()
    return store


def open_index(address: str, token: str) -> MilvusStore:
    """The index at an address. Raises `ConfigError` where there is none, `StoreUnavailable`."""
    with ExitStack() as undo:
        link = undo.enter_context(closing(_Link(address, token, begin=False)))
        store = MilvusStore(link, link.known())
        undo.pop_all()
    return store


class MilvusStore:
    """A `store.VectorStore`. Thread-safe. On a server, searches are approximate (HNSW); in Lite, exact."""

    def __init__(self, link: _Link, known: About) -> None:
        self._link = link
        self.embedder, self.numbering = known.embedder, known.numbering
        self._rows = max(1, min(5_000, _BYTES // (4 * self.embedder.dimension)))
        self._writing = threading.Lock()  # Milvus Lite has one writer
        self._written = False
        link.load()

    def upsert(self, vectors: Vectors) -> None:
        accepted(vectors, self.embedder)
        rows = [
            {"image_id": image_id, "path": path, "embedding": vector}
            for image_id, path, vector in zip(
                vectors.ids.tolist(), vectors.paths, vectors.embeddings, strict=True
            )
        ]
        with self._writing:
            for start in range(0, len(rows), self._rows):
                self._link.call("upsert", data=rows[start : start + self._rows], timeout=_TAKEN)
            self._written = True

    def delete(self, ids: Ids) -> None:
        with self._writing:
            for part in _parts(ids, self._rows):
                self._link.call("delete", ids=part.tolist(), timeout=_TAKEN)
            self._written = True

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        """See `store.VectorStore`. Of many images, it goes down the ranking until enough of them were met:
        a list of a million ids takes Milvus longer to read than to search."""
        (asked,) = checked(query[None], self.embedder)
        self._settle()
        if among is None:
            return _best(self._nearest(asked, most), most)
        if len(among) > _LISTED:
            met = self._met(asked, most, among)
            if met is not None:
                return _best(met, most)
        found = [hit for part in _parts(among, _CHUNK) for hit in self._nearest(asked, most, _among(part))]
        return _best(found, most)

    def fetch(self, ids: Ids) -> Vectors:
        found = [
            row
            for part in _parts(np.unique(ids), self._rows)
            for row in self._link.call("get", ids=part.tolist(), output_fields=["path", "embedding"])
        ]
        found.sort(key=lambda row: int(row["image_id"]))
        embeddings = np.array([row["embedding"] for row in found], np.float32)
        return Vectors(
            ids=np.array([row["image_id"] for row in found], np.int64),
            paths=[str(row["path"]) for row in found],
            embeddings=embeddings.reshape(-1, self.embedder.dimension),
        )

    def count(self) -> int:
        (row,) = self._link.call("query", output_fields=["count(*)"])
        return int(row["count(*)"])

    def scan(self) -> Iterator[Vectors]:
        """See `store.VectorStore`; of the ids that are there when it begins (8 bytes of memory each)."""
        self._settle()
        for part in _parts(self._link.ids(), self._rows):
            yield self.fetch(part)

    def close(self) -> None:
        self._link.close()

    def settle(self) -> None:
        """See `store.VectorStore`: a server does so by itself."""
        self._settle()

    def _settle(self) -> None:
        """Has Lite put what was written where it searches fast."""
        with self._writing:
            if self._written and self._link.lite:
                self._link.call("flush", timeout=_READY)
            self._written = False

    def _nearest(self, asked: Floats, most: int, only: str = "") -> list[Hit]:
        """At least the `most` nearest and all that tie with the last of them."""
        limit = min(_TOP, most + _SPARE)
        while True:
            found = self._link.search(asked, limit, only)
            if len(found) < limit or limit == _TOP or _told(found, most):
                return found
            limit = min(_TOP, 4 * limit)

    def _met(self, asked: Floats, most: int, among: Ids) -> list[Hit] | None:
        """Those of `among` that stand in the ranking of all; None where too few do."""
        limit = min(_TOP, 4 * (most + _SPARE))
        while True:
            found = self._link.search(asked, limit)
            inside = np.isin([hit.image_id for hit in found], among)
            met = [hit for hit, wanted in zip(found, inside.tolist(), strict=True) if wanted]
            if len(found) < limit or _told(met, most):
                return met
            if limit == _TOP:
                return None
            limit = min(_TOP, 4 * limit)


class _Link:
    """A connection to one collection. Raises our errors only."""

    def __init__(self, address: str, token: str, *, begin: bool = True) -> None:
        self.place, uri, self._name = _parsed(address)
        self._lite: milvus_lite.Lite | None = None
        if "://" not in uri:
            self._lite = milvus_lite.Lite(uri, begin=begin)
            uri = self._lite.uri
        with ExitStack() as undo, self._translating():
            if self._lite is not None:
                undo.callback(self._lite.close)
            self._client = MilvusClient(uri, token=token, timeout=_CONNECT, dedicated=True)
            self.lite = self._client.get_server_version(timeout=_ANSWER).startswith("milvus_lite")
            undo.pop_all()

    def about(self) -> str | None:
        """What `create` was told; None where there is no such collection. Raises `ConfigError`."""
        if not self.call("has_collection"):
            return None
        text = self.call("describe_collection")["properties"].get(_PROPERTY)
        if text is None:
            raise ConfigError(f"{self.place}: the collection {self._name} is not an index of Windmill's")
        return str(text)

    def known(self) -> About:
        """Raises `ConfigError` where there is no such collection."""
        text = self.about()
        if text is None:
            raise ConfigError(
                f"{self.place}: no index there; windmill index load PREFIX --store {self.place} fills one"
            )
        return about.read(text, self.place)

    def create(self, mine: About) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("image_id", DataType.INT64, is_primary=True)
        schema.add_field("path", DataType.VARCHAR, max_length=65_535)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=mine.embedder.dimension)
        self.call(
            "create_collection",
            schema=schema,
            consistency_level="Strong",
            properties={_PROPERTY: mine.text()},
            timeout=_READY,
        )

    def index(self) -> None:
        """Has the vectors indexed, now or as they come."""
        if self.call("list_indexes"):
            return
        index = MilvusClient.prepare_index_params()
        kind = "FLAT" if self.lite else "HNSW"  # Lite's HNSW takes twice as long as its comparing with all
        building = {} if self.lite else {"M": 16, "efConstruction": 200}
        index.add_index("embedding", index_type=kind, metric_type="IP", params=building)
        self.call("create_index", index_params=index, sync=False, timeout=_READY)

    def load(self) -> None:
        """Has the collection in memory, or mapped into it: before that, nothing can be searched."""
        self.call("load_collection", timeout=_READY)

    def search(self, asked: Floats, limit: int, only: str = "") -> list[Hit]:
        effort = {} if self.lite else {"params": {"ef": min(2 * _TOP, max(128, 2 * limit))}}
        (found,) = self.call(
            "search",
            data=[asked],
            limit=limit,
            filter=only,
            output_fields=["path"],
            search_params={"metric_type": "IP", **effort},
        )
        return [
            Hit(image_id=int(hit["image_id"]), path=hit["entity"]["path"], score=hit["distance"])
            for hit in found
        ]

    def ids(self) -> Ids:
        """All ids there are, ascending."""
        parts = [np.empty(0, np.int64)]
        with self._translating():
            rows = self._client.query_iterator(
                self._name, batch_size=_TOP, output_fields=["image_id"], timeout=_ANSWER
            )
            try:
                while batch := rows.next():
                    parts.append(np.array([row["image_id"] for row in batch], np.int64))
            finally:
                rows.close()
        return np.unique(np.concatenate(parts))

    def call(self, method: str, timeout: float = _ANSWER, **arguments: Any) -> Any:
        """One of the client's methods, on the collection."""
        with self._translating():
            return getattr(self._client, method)(self._name, timeout=timeout, **arguments)

    def close(self) -> None:
        self._client.close()
        if self._lite is not None:
            self._lite.close()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as exc:
            said = f"{exc.code().name}: {exc.details()}" if isinstance(exc, grpc.Call) else str(exc)
            raise self._away(said) from exc
        except MilvusException as exc:
            if exc.code == _AWAY or exc.retriable:
                raise self._away(exc.message) from exc
            raise StoreError(f"{self.place}: Milvus refused this: {exc.message}") from exc

    def _away(self, said: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self.place}: Milvus does not answer ({' '.join(said.split())[:300]}): is it running, and"
            " MILVUS_TOKEN right?"
        )


def _parsed(address: str) -> tuple[str, str, str]:
    """`FILE.db` or `http://HOST:PORT`, with `#COLLECTION` behind it or not → the store's address, the file or
    URI, and the collection's name. Raises `ConfigError`."""
    where, _, name = address.partition("#")
    name = name or "windmill"
    place = f"milvus:{address}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: a collection's name has letters, digits and _, and begins with no digit")
    if "@" in where:
        raise ConfigError("milvus: user and password do not belong into an address: set MILVUS_TOKEN")
    if not where.startswith(("http://", "https://")) and not ("://" not in where and where.endswith(".db")):
        raise ConfigError(f"{place}: expected milvus:FILE.db or milvus:http://HOST:19530")
    return place, where, name


def _parts(ids: Ids, size: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _among(ids: Ids) -> str:
    return f"image_id in [{','.join(map(str, ids.tolist()))}]"


def _told(found: list[Hit], most: int) -> bool:
    """Whether it is told which are the first `most`: the next one does not tie with the last of them."""
    return len(found) > most and round(found[most].score, 6) < round(found[most - 1].score, 6)


def _best(found: list[Hit], most: int) -> list[Hit]:
    ids = np.array([hit.image_id for hit in found], np.int64)
    scores = np.array([hit.score for hit in found], np.float32)
    return best(ids, [hit.path for hit in found], scores, most)
