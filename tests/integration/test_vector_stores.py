"""Stores that are away, that cannot be, or that are large: what a person is told, and what is found."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from tests.contract.test_vector_stores import EIGHT, at, everything, images, told
from windmill.errors import ConfigError, IndexDamaged, StoreUnavailable
from windmill.index.memory import MemoryStore
from windmill.index.stores import create_store, open_store
from windmill.index.vectors import Vectors
from windmill.model import Numbering
from windmill.postgres import vectors as tables
from windmill.postgres.connection import connect
from windmill.settings import Settings


def made(address, settings=Settings()):  # noqa: B008 -- frozen
    return create_store(address, EIGHT, Numbering.IMAGES, settings)


# --- Milvus ------------------------------------------------------------------------------------------------


@pytest.fixture
def lite(tmp_path):
    pytest.importorskip("pymilvus")
    return f"milvus:{tmp_path / 'photos.db'}"


@pytest.mark.parametrize("listening", [False, True], ids=["nobody listens", "whoever listens says nothing"])
def test_a_milvus_that_is_away_is_told_within_seconds(lite, listening, monkeypatch):
    monkeypatch.setattr("windmill.index.milvus._CONNECT", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listening:
            mute.listen()
        address = f"milvus:http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=f"{address}: Milvus does not answer.*is it running"):
            open_store(address, Settings())


def test_a_milvus_that_goes_away_is_told(lite):
    with closing(made(lite)) as store:
        store.upsert(images(1))
        store._link._lite._server.stop(grace=0).wait()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.search(images(1).embeddings[0], 1)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            store.upsert(images(2))


def test_several_indexes_share_a_file_of_milvus_lite_but_not_two_processes(lite, tmp_path):
    with closing(made(f"{lite}#people")) as store:
        store.upsert(images(1))
        with pytest.raises(StoreUnavailable, match="something else has it open"):
            made(lite)
    with closing(made(lite)) as store:
        assert store.count() == 0
    with closing(open_store(f"{lite}#people", Settings())) as store:
        assert everything(store) == told(images(1))


def test_what_is_not_an_index_in_milvus_lite_is_left_alone(lite, tmp_path):
    (tmp_path / "photos.db").write_text("notes")
    with pytest.raises(ConfigError, match="not of Milvus Lite"):
        made(lite)
    (tmp_path / "photos.db").unlink()
    with closing(made(lite)) as store:
        store._link._client.alter_collection_properties("windmill", {"windmill": "{}"})
    with pytest.raises(IndexDamaged, match=r"photos\.db"):
        made(lite)


# --- pgvector ----------------------------------------------------------------------------------------------


def test_a_postgres_without_pgvector_is_told_with_what_helps(empty_database):
    with closing(connect(empty_database, "test")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
        if cursor.fetchone():
            pytest.skip("this PostgreSQL has pgvector")
    with pytest.raises(ConfigError, match="postgresql-NN-pgvector"):
        made("pgvector:photos", empty_database)
    with pytest.raises(ConfigError, match="no index there"):
        open_store("pgvector:photos", empty_database)


@pytest.fixture
def pgvector(pgvector_database):
    """Settings for an empty database of a server that has pgvector, and what sends it statements."""
    run = sender(pgvector_database)
    run("DROP DATABASE IF EXISTS bare WITH (FORCE)")
    run("CREATE DATABASE bare")
    return replace(pgvector_database, db_name="bare")


def sender(settings):
    def send(statement):
        with closing(connect(settings, "test")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    return send


def test_whoever_may_not_add_pgvector_is_told_who_can(pgvector):
    send = sender(pgvector)
    send("DROP ROLE IF EXISTS plain")
    send("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    send("GRANT CREATE ON SCHEMA public TO plain")
    plain = replace(pgvector, db_user="plain", db_password="plain")
    with pytest.raises(ConfigError, match="superuser run CREATE EXTENSION vector in bare"):
        made("pgvector:photos", plain)
    send("CREATE EXTENSION vector")
    with closing(made("pgvector:photos", plain)) as store:
        store.upsert(images(1))
        assert store.count() == 1
    send("DROP OWNED BY plain")
    send("DROP ROLE plain")


def test_a_table_of_someone_else_is_left_alone(pgvector):
    sender(pgvector)("CREATE TABLE windmill_index_photos (a integer)")
    for call in (made, open_store):
        with pytest.raises(ConfigError, match="not an index of Windmill's"):
            call("pgvector:photos", pgvector)


def test_two_that_begin_the_same_index_at_once_both_have_it(pgvector):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: made("pgvector:photos", pgvector), range(4)))
        list(pool.map(lambda store: store.upsert(images(*range(200))), stores))
    assert stores[0].count() == 200
    for store in stores:
        store.close()


def test_a_graph_finds_what_comparing_with_all_finds(pgvector, monkeypatch):
    monkeypatch.setattr(tables, "GRAPH_FROM", 2_000)
    monkeypatch.setattr(tables, "EXACT_UP_TO", 100)
    rng = np.random.default_rng(0)
    ids = np.arange(3_000) * 3
    close = rng.standard_normal((30, 8))[rng.integers(0, 30, 3_000)] + 0.5 * rng.standard_normal((3_000, 8))
    embeddings = (close / np.linalg.norm(close, axis=1, keepdims=True)).astype(np.float32)
    every = Vectors(ids=ids, paths=[f"/{n}" for n in ids.tolist()], embeddings=embeddings)
    exact = MemoryStore(EIGHT)
    exact.upsert(every)
    few, rare = ids[::7], np.concatenate([ids[:3], np.arange(100_000, 100_200)])
    with closing(made("pgvector:photos", pgvector)) as store:
        store.upsert(every)
        store.settle()
        store.settle()
        assert graphs(pgvector) == ["windmill_index_photos_near"]
        for among in (None, few, rare, at()):
            asked = embeddings[:40]
            pairs = [(exact.search(one, 10, among), store.search(one, 10, among)) for one in asked]
            shared = sum(len(set(one) & set(other)) for one, other in pairs)
            assert shared >= 0.95 * sum(len(one) for one, _ in pairs)
        store.delete(ids[:1_000])
        assert {hit.image_id for hit in store.search(embeddings[0], 50)}.isdisjoint(ids[:1_000].tolist())


def graphs(settings):
    with closing(connect(settings, "test")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%USING hnsw%'")
        return [name for (name,) in cursor.fetchall()]
