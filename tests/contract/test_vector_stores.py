"""What every vector store promises: the same body for memory, files, Milvus Lite and pgvector."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pytest

from windmill.errors import ConfigError, OtherEmbedder, StoreError
from windmill.index.memory import MemoryStore
from windmill.index.store import VectorStore
from windmill.index.stores import create_store, open_store
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering
from windmill.settings import Settings

KINDS = ("memory", "files", "milvus", "pgvector")
_names = itertools.count()

EIGHT = Embedder(service="clip", name="tiny-clip", version="1", dimension=8)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of store: `create` makes one, or opens what the same embedder made; `reopen` opens it."""

    create: Callable[..., VectorStore]
    reopen: Callable[[], VectorStore]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.getfixturevalue(f"{request.param}_kind")


@pytest.fixture(params=KINDS[1:])
def lasting(request: pytest.FixtureRequest) -> Kind:
    """Those that remember more than their process does."""
    return request.getfixturevalue(f"{request.param}_kind")


@pytest.fixture
def store(kind: Kind) -> Iterator[VectorStore]:
    with closing(kind.create()) as opened:
        yield opened


@pytest.fixture
def memory_kind() -> Kind:
    return Kind(create=lambda: MemoryStore(EIGHT, Numbering.IMAGES), reopen=pytest.fail)


@pytest.fixture
def files_kind(tmp_path) -> Kind:
    pytest.importorskip("faiss")
    return addressed(str(tmp_path / "index" / "photos"), Settings())


@pytest.fixture
def milvus_kind(tmp_path) -> Kind:
    pytest.importorskip("pymilvus")
    return addressed(f"milvus:{tmp_path / 'photos.db'}", Settings())


@pytest.fixture
def pgvector_kind(pgvector_database: Settings) -> Kind:
    return addressed(f"pgvector:contract_{next(_names)}", pgvector_database)


def addressed(address: str, settings: Settings) -> Kind:
    def create(embedder: Embedder = EIGHT, numbering: Numbering = Numbering.IMAGES) -> VectorStore:
        return create_store(address, embedder, numbering, settings)

    return Kind(create=create, reopen=lambda: open_store(address, settings))


def images(*ids: int, seed: int = 0, paths: str = "/photos/{}.jpg") -> Vectors:
    """Random unit vectors; of one id and seed always the same."""
    numbers = [np.random.default_rng((seed, image_id)).standard_normal(8) for image_id in ids]
    embeddings = np.array(numbers, np.float32).reshape(-1, 8)
    return Vectors(
        ids=np.array(ids, np.int64),
        paths=tuple(paths.format(image_id) for image_id in ids),
        embeddings=embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
    )


def at(*ids: int) -> np.ndarray:
    return np.array(ids, np.int64)


def told(vectors: Vectors) -> list[tuple[int, str, list[float]]]:
    return list(zip(vectors.ids.tolist(), vectors.paths, vectors.embeddings.tolist(), strict=True))


def everything(store: VectorStore) -> list[tuple[int, str, list[float]]]:
    return [one for part in store.scan() for one in told(part)]


def found(store: VectorStore, query: np.ndarray, most: int, among: np.ndarray | None = None) -> list[int]:
    return [hit.image_id for hit in store.search(query, most, among)]


def test_saving_twice_is_saving_once(store):
    some = images(3, 1, 2)
    store.upsert(some)
    store.upsert(some)
    assert store.count() == 3
    assert everything(store) == told(images(1, 2, 3))


def test_what_is_saved_again_replaces_what_was_there(store):
    store.upsert(images(1, 2, 3))
    newer = images(2, seed=1, paths="/moved/{}.jpg")
    store.upsert(newer)
    assert store.count() == 3
    assert told(store.fetch(at(2))) == told(newer)
    (hit, *_) = store.search(newer.embeddings[0], 3)
    assert (hit.image_id, hit.path, hit.score) == (2, "/moved/2.jpg", 1.0)
    assert 2 not in found(store, images(2).embeddings[0], 2, at(1, 3))


def test_what_is_deleted_is_gone_and_can_come_back(store):
    store.upsert(images(1, 2, 3))
    store.delete(at(2, 77))
    assert store.count() == 2
    assert sorted(found(store, images(2).embeddings[0], 9)) == [1, 3]
    assert told(store.fetch(at(2))) == []
    assert everything(store) == told(images(1, 3))
    store.upsert(images(2))
    assert found(store, images(2).embeddings[0], 1) == [2]


def test_each_is_found_by_its_own_vector(store):
    every = images(*range(1, 60))
    store.upsert(every)
    for image_id, vector in zip(every.ids.tolist(), every.embeddings, strict=True):
        (hit,) = store.search(vector, 1)
        assert (hit.image_id, hit.score) == (image_id, 1.0)


def test_the_nearest_are_those_that_numpy_says_best_first(store):
    every = images(*range(0, 900, 3))
    store.upsert(every)
    (asked,) = images(5, seed=2).embeddings
    scores = every.embeddings.astype(float) @ asked.astype(float)
    order = np.argsort(-scores)
    for most in (1, 10, 300, 10_000):
        hits = store.search(asked, most)
        assert [hit.image_id for hit in hits] == every.ids[order[:most]].tolist()
        assert [hit.path for hit in hits] == [every.paths[n] for n in order[:most]]
        np.testing.assert_allclose([hit.score for hit in hits], scores[order[:most]], atol=2e-6)


AMONG = {
    "none": at(),
    "few": at(6, 9),
    "half, and as many that are not there": np.arange(0, 900, 2),
    "only what is not there": at(7, 2**62),
    "very many": np.arange(200_000),
    "many, of whom few are there": np.arange(800, 60_000),
}


def test_a_search_among_some_finds_the_nearest_of_these(store):
    every = images(*range(0, 900, 3))
    store.upsert(every)
    (asked,) = images(5, seed=2).embeddings
    for which, among in AMONG.items():
        inside = np.isin(every.ids, among)
        order = np.argsort(-(every.embeddings[inside] @ asked))[:20]
        assert found(store, asked, 20, among) == every.ids[inside][order].tolist(), which


def test_ties_go_by_id_however_many_tie(store):
    one = images(1).embeddings
    ids = np.random.default_rng(0).permutation(60) + 10
    store.upsert(
        Vectors(ids=ids, paths=[f"/{n}" for n in ids.tolist()], embeddings=np.repeat(one, 60, axis=0))
    )
    store.upsert(images(5))
    assert found(store, one[0], 4) == [10, 11, 12, 13]
    assert found(store, one[0], 2, at(5, 30, 31, 32)) == [30, 31]


def test_fetching_gives_what_is_there_by_ascending_id(store):
    store.upsert(images(2, 9, 4))
    assert told(store.fetch(at(9, 77, 2, 9))) == told(images(2, 9))


def test_ids_of_63_bits_and_paths_of_any_language(store):
    largest = images(2**63 - 1, paths="/фото/猫 '\"\\{}\t🐈.jpg")
    store.upsert(largest)
    assert everything(store) == told(largest)
    assert found(store, largest.embeddings[0], 1, largest.ids) == [2**63 - 1]


def test_an_empty_store_finds_nothing(store):
    assert (store.count(), everything(store)) == (0, [])
    assert found(store, images(1).embeddings[0], 5) == []
    assert found(store, images(1).embeddings[0], 5, at(1)) == []
    assert told(store.fetch(at(1))) == []
    store.delete(at(1))
    store.upsert(images())
    assert store.count() == 0


def test_other_vectors_are_refused_and_nothing_is_lost(store):
    store.upsert(images(1))
    for wrong in (np.ones((1, 9), np.float32), np.full((1, 8), np.nan, np.float32)):
        with pytest.raises(OtherEmbedder):
            store.upsert(Vectors(ids=at(1), paths=("/1",), embeddings=wrong))
        with pytest.raises(OtherEmbedder):
            store.search(wrong[0], 1)
    assert everything(store) == told(images(1))


def test_a_path_that_is_not_text_is_refused_and_nothing_is_lost(store):
    store.upsert(images(1))
    with pytest.raises(StoreError, match="not text"):
        store.upsert(images(2, paths="/photos/caf\udce9{}.jpg"))
    assert everything(store) == told(images(1))


def test_what_was_saved_is_there_when_it_is_opened_again(lasting):
    with closing(lasting.create()) as first:
        first.upsert(images(1, 2, 3))
        first.delete(at(3))
    with closing(lasting.reopen()) as second:
        assert (second.embedder, second.numbering) == (EIGHT, Numbering.IMAGES)
        assert everything(second) == told(images(1, 2))
        assert found(second, images(2).embeddings[0], 1) == [2]
    with closing(lasting.create()) as third:
        third.upsert(images(4))
        assert third.count() == 3


def test_an_index_of_another_model_or_numbering_is_left_alone(lasting):
    with closing(lasting.create()) as store:
        store.upsert(images(1))
    for other in (replace(EIGHT, dimension=9), replace(EIGHT, version="2")):
        with pytest.raises(OtherEmbedder, match=r"an index of clip \(tiny-clip 1, 8 dim"):
            lasting.create(other)
    with pytest.raises(OtherEmbedder, match="ids"):
        lasting.create(numbering=Numbering.CONTENT)
    with closing(lasting.reopen()) as store:
        assert everything(store) == told(images(1))


def test_what_was_never_made_cannot_be_opened(lasting):
    with pytest.raises(ConfigError, match="windmill index"):
        lasting.reopen()
