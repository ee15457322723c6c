"""Vectors of images in PostgreSQL with pgvector: a table for each index, made on demand (docs/adr/0041)."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2.errors as pg
from psycopg2 import sql

from windmill.errors import ConfigError
from windmill.postgres.connection import Session
from windmill.postgres.queries import query
from windmill.settings import Settings

GRAPH_FROM = 20_000  # rows: below them, comparing with every vector takes a few hundredths of a second
GRAPH_UP_TO = 200  # hits: a graph that is asked for a thousand of 100,000 misses a fifth of them
EXACT_UP_TO = 50_000  # ids that a search is confined to: each is looked up and compared
_SCANNED = 100_000  # rows that a filtered search by graph looks at, at most
_EFFORT = 100, 1000  # candidates of a search by graph: at least; at most (pgvector's limit)
_MEMORY = 64, 2048  # MB to make a graph in: at least; at most
_NEEDED = 0, 8  # pgvector's version: searches by graph that go on until the filter has let enough through

Rows = list[tuple[int, str, float]]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


class VectorTable:
    """The table of one index. Thread-safe, one transaction after another. Raises our errors only."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, "windmill index")
        self._database = settings.db_name
        self._lock = threading.Lock()
        self._name, self._graph = f"windmill_index_{name}", f"windmill_index_{name}_near"
        self._has_graph = False

    def about(self) -> str | None:
        """What `create` was told of the index; None where there is no such table."""
        with self._transaction() as cursor:
            return self._about(cursor)

    def create(self, about: str, dimension: int) -> str:
        """Makes the table unless it is there; gives what is known of it. Raises `ConfigError`."""
        with self._transaction() as cursor:
            cursor.execute(query("vectors_lock"), {"table": self._name})
            found = self._about(cursor)
            if found is not None:
                return found
            self._extend(cursor)
            cursor.execute(
                sql.SQL(query("vectors_create")).format(table=sql.Identifier(self._name)),
                {"dimension": dimension},
            )
            cursor.execute(
                sql.SQL(query("vectors_describe")).format(table=sql.Identifier(self._name)), {"about": about}
            )
        return about

    def save(self, ids: Ids, paths: Sequence[str], embeddings: Floats) -> None:
        """Has these rows when it returns."""
        with self._transaction() as cursor:
            cursor.execute(sql.SQL(query("vectors_incoming")).format(table=sql.Identifier(self._name)))
            cursor.copy_expert(query("vectors_copy"), _binary(ids, paths, embeddings))
            cursor.execute(sql.SQL(query("vectors_upsert")).format(table=sql.Identifier(self._name)))

    def settle(self, dimension: int) -> None:
        """Makes a graph to search in, from `GRAPH_FROM` rows on, unless there is one."""
        count = self.count()
        if count < GRAPH_FROM:
            return
        megabytes = min(max(_MEMORY[0], count * (2 * dimension + 500) // 1_000_000), _MEMORY[1])
        with self._transaction() as cursor:
            cursor.execute(query("vectors_lock"), {"table": self._name})
            if self._there(cursor):
                return
            cursor.execute(query("vectors_index_settings"), {"memory": f"{megabytes}MB"})
            cursor.execute(
                sql.SQL(query("vectors_index")).format(
                    index=sql.Identifier(self._graph), table=sql.Identifier(self._name)
                ),
                {"dimension": dimension},
            )

    def delete(self, ids: Ids) -> None:
        with self._transaction() as cursor:
            cursor.execute(
                sql.SQL(query("vectors_delete")).format(table=sql.Identifier(self._name)),
                {"ids": _array(ids)},
            )

    def fetch(self, ids: Ids, dimension: int) -> tuple[Ids, list[str], Floats]:
        """Those of them that are there, by ascending id."""
        with self._transaction() as cursor:
            cursor.execute(
                sql.SQL(query("vectors_fetch")).format(table=sql.Identifier(self._name)), {"ids": _array(ids)}
            )
            return _vectors(cursor.fetchall(), dimension)

    def after(self, image_id: int, limit: int, dimension: int) -> tuple[Ids, list[str], Floats]:
        """The first `limit` after this id."""
        with self._transaction() as cursor:
            cursor.execute(
                sql.SQL(query("vectors_scan")).format(table=sql.Identifier(self._name)),
                {"after": image_id, "limit": limit},
            )
            return _vectors(cursor.fetchall(), dimension)

    def count(self) -> int:
        with self._transaction() as cursor:
            cursor.execute(sql.SQL(query("vectors_count")).format(table=sql.Identifier(self._name)))
            return int(cursor.fetchone()[0])

    def nearest(self, asked: Floats, most: int, among: Ids | None) -> Rows:
        """Up to `most` rows with the highest product, best first, ties by id; only of `among`, if given."""
        values = {"query": _text(asked), "limit": most, "dimension": len(asked)}
        if among is not None:
            values["ids"] = _array(among)
        few = among is not None and len(among) <= EXACT_UP_TO
        if few or most > GRAPH_UP_TO or not self._seen_graph():
            return self._exactly(values)
        found = self._by_graph(values, most)
        return found if len(found) == most or among is None else self._exactly(values)

    def close(self) -> None:
        with self._lock:
            self._session.close()

    def _exactly(self, values: dict[str, Any]) -> Rows:
        with self._transaction() as cursor:
            if "ids" in values:
                cursor.execute(
                    sql.SQL(query("vectors_nearest_among")).format(table=sql.Identifier(self._name)), values
                )
            else:
                cursor.execute(
                    sql.SQL(query("vectors_nearest")).format(table=sql.Identifier(self._name)), values
                )
            return list(cursor.fetchall())

    def _by_graph(self, values: dict[str, Any], most: int) -> Rows:
        pool = most + max(16, most // 4)  # a half is right to 3 digits: some of the best are a little behind
        effort = min(max(_EFFORT[0], 2 * pool), _EFFORT[1])
        with self._transaction() as cursor:
            cursor.execute(query("vectors_graph_settings"), {"effort": str(effort), "most": str(_SCANNED)})
            values = values | {"pool": pool}
            if "ids" in values:
                cursor.execute(
                    sql.SQL(query("vectors_near_among")).format(table=sql.Identifier(self._name)), values
                )
            else:
                cursor.execute(
                    sql.SQL(query("vectors_near")).format(table=sql.Identifier(self._name)), values
                )
            return list(cursor.fetchall())

    def _seen_graph(self) -> bool:
        if not self._has_graph:
            with self._transaction() as cursor:
                self._has_graph = self._there(cursor)
        return self._has_graph

    def _there(self, cursor: Any) -> bool:
        cursor.execute(query("vectors_has_index"), {"index": f'"{self._graph}"'})
        return bool(cursor.fetchone()[0])

    def _about(self, cursor: Any) -> str | None:
        cursor.execute(query("vectors_about"), {"table": f'"{self._name}"'})
        there, about = cursor.fetchone()
        if there and about is None:
            raise ConfigError(f"the table {self._name} in {self._database} is not an index of Windmill's")
        return None if about is None else str(about)

    def _extend(self, cursor: Any) -> None:
        """Has the database know vectors. Raises `ConfigError`."""
        cursor.execute(query("vector_extension"))
        installed, offered = cursor.fetchone()
        version = installed or offered
        if version is None:
            raise ConfigError(
                "this PostgreSQL has no extension vector (pgvector): install it on the server's machine"
                " (Debian: postgresql-NN-pgvector)"
            )
        if tuple(int(part) for part in version.split(".")[:2]) < _NEEDED:
            raise ConfigError(f"pgvector {version}: 0.8 or later is needed; ALTER EXTENSION vector UPDATE")
        if installed is None:
            try:
                cursor.execute(query("create_vector_extension"))
            except pg.InsufficientPrivilege as exc:
                raise ConfigError(
                    f"DB_USER may not add pgvector to the database: have a superuser run CREATE EXTENSION"
                    f" vector in {self._database}"
                ) from exc

    @contextmanager
    def _transaction(self) -> Any:
        with self._lock, self._session.transaction() as cursor:
            yield cursor


def _array(ids: Ids) -> str:
    """As PostgreSQL reads an array: as a list of expressions, a million would take minutes."""
    return "{" + ",".join(map(str, ids.tolist())) + "}"


def _text(vector: Floats) -> str:
    return "[" + ",".join(map(repr, vector.astype(float).tolist())) + "]"


def _binary(ids: Ids, paths: Sequence[str], embeddings: Floats) -> io.BytesIO:
    """Rows as COPY reads them in its binary format: exact, and in a fraction of the time of text.

    Sources: PostgreSQL's manual, COPY, Binary Format; pgvector's vector_recv.
    """
    dimension = embeddings.shape[1]
    length = 4 + 4 * dimension
    numbers = embeddings.astype(">f4")
    file = io.BytesIO()
    file.write(b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0))
    for image_id, path, row in zip(ids.tolist(), paths, numbers, strict=True):
        text = path.encode()
        file.write(struct.pack("!hiqi", 3, 8, image_id, len(text)))
        file.write(text)
        file.write(struct.pack("!ihh", length, dimension, 0))
        file.write(row.tobytes())
    file.write(struct.pack("!h", -1))
    file.seek(0)
    return file


def _vectors(rows: list[tuple[int, str, memoryview]], dimension: int) -> tuple[Ids, list[str], Floats]:
    """Rows with vectors as vector_send gives them: two 16-bit numbers, then floats of 32 bits."""
    ids = np.array([image_id for image_id, _, _ in rows], np.int64)
    sent = b"".join(bytes(vector)[4:] for _, _, vector in rows)
    embeddings = np.frombuffer(sent, ">f4").astype(np.float32).reshape(-1, dimension)
    return ids, [path for _, path, _ in rows], embeddings
