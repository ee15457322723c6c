"""Bringing an index into another store: only what lacks is written, and then looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.contract.test_vector_stores import EIGHT, at, everything, images, told
from windmill import cli
from windmill.errors import ConfigError, OtherEmbedder, StoreUnavailable
from windmill.index.loading import check, load
from windmill.index.memory import MemoryStore
from windmill.index.stores import create_store, open_store
from windmill.model import Numbering
from windmill.settings import Settings


class Meter:
    done = 0

    def update(self, done, total=None):
        self.done = done


class Breaking(MemoryStore):
    """Goes away at its n-th upsert."""

    def __init__(self, n):
        super().__init__(EIGHT)
        self.left = n

    def upsert(self, vectors):
        self.left -= 1
        if not self.left:
            raise StoreUnavailable("away")
        super().upsert(vectors)


class Forgetful(MemoryStore):
    """Has everything and finds the wrong."""

    def search(self, query, most, among=None):
        return super().search(-query, most, among)


def filled(*ids, store=None, **fields):
    store = MemoryStore(EIGHT) if store is None else store
    store.upsert(images(*ids, **fields))
    return store


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr("windmill.index.memory._PART", 5)
    monkeypatch.setattr("windmill.index.loading.BATCH", 10)


def loaded(source, target, *, prune=False):
    done = load(source, target, Meter(), prune=prune)
    return done, check(source, target, done, np.random.default_rng(0))


def test_all_is_there_afterwards_and_a_second_time_nothing_is_written():
    source, target = filled(*range(25)), MemoryStore(EIGHT)
    done, seen = loaded(source, target)
    assert (done.written, seen.well, seen.found, seen.sampled) == (25, True, 25, 25)
    assert everything(target) == everything(source)
    assert loaded(source, target)[0].written == 0


def test_what_was_broken_off_goes_on():
    source, target = filled(*range(25)), Breaking(3)
    with pytest.raises(StoreUnavailable):
        load(source, target, Meter(), prune=False)
    assert target.count() == 20
    done, seen = loaded(source, target)
    assert (done.written, seen.well) == (5, True)


def test_what_changed_is_written_again():
    target = filled(1, 2, 3, 4)
    source = filled(2, seed=1, store=filled(1, 3, store=filled(4, paths="/moved/{}.jpg")))
    assert loaded(source, target)[0].written == 2
    assert everything(target) == everything(source)


@pytest.mark.parametrize(("prune", "left"), [(False, 5), (True, 3)])
def test_what_only_the_target_has_is_told_and_deleted_if_wished(prune, left):
    target = filled(2, 8, 9)
    done, seen = loaded(filled(1, 2, 3), target, prune=prune)
    assert done.stale.tolist() == [8, 9]
    assert (target.count(), seen.expected, seen.well) == (left, left, True)


def test_the_look_afterwards_sees_what_is_missing_other_or_not_found():
    source, target = filled(*range(40)), Forgetful(EIGHT)
    done, seen = loaded(source, target)
    assert (seen.well, seen.found) == (False, 0)
    whole = filled(*range(40))
    whole.delete(at(7))
    filled(9, seed=1, store=whole)
    seen = check(source, whole, done, np.random.default_rng(0))
    assert (seen.images, seen.expected, sorted(seen.wrong.tolist()), seen.well) == (39, 40, [7, 9], False)


def test_the_command_tells_what_it_did_and_saw(tmp_path, capsys):
    pytest.importorskip("faiss")
    source = create_store(str(tmp_path / "a"), EIGHT, Numbering.CONTENT, Settings())
    source.upsert(images(*range(30)))
    command = ["index", "load", str(tmp_path / "a"), "--store", str(tmp_path / "b")]
    assert cli.main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("images", "written", "stale", "count", "found", "well")} == {
        "images": 30, "written": 30, "stale": 0, "count": 30, "found": 30, "well": True
    }  # fmt: skip
    source.delete(at(4, 5))
    assert cli.main([*command, "--prune"]) == 0
    assert "only" in (said := capsys.readouterr().out)
    assert "2 images (4, 5): deleted" in said
    copy = open_store(str(tmp_path / "b"), Settings())
    assert (copy.numbering, copy.count(), told(copy.fetch(at(4, 6)))) == (
        Numbering.CONTENT,
        28,
        told(images(6)),
    )


def test_an_index_of_another_model_is_not_mixed_with(tmp_path, capsys):
    pytest.importorskip("faiss")
    for name, numbering in (("a", Numbering.CONTENT), ("b", Numbering.IMAGES)):
        create_store(str(tmp_path / name), EIGHT, numbering, Settings()).upsert(images(1))
    with pytest.raises(OtherEmbedder):
        create_store(str(tmp_path / "b"), EIGHT, Numbering.CONTENT, Settings())
    assert cli.main(["index", "load", str(tmp_path / "a"), "--store", str(tmp_path / "b")]) == 2
    assert "its ids" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["", "milvus:", "pgvector:", "redis:photos", "pgvector", "http://host:1/x"]
)
def test_an_address_of_no_known_form_is_refused_with_those_that_are(address):
    if address == "pgvector":  # a prefix like any other, where nothing lies
        with pytest.raises(ConfigError, match="no index there"):
            open_store(address, Settings())
        return
    with pytest.raises(ConfigError, match=r"PREFIX.*milvus:FILE\.db.*pgvector:NAME"):
        open_store(address, Settings())


@pytest.mark.parametrize(
    "command",
    [
        ["merge", "pgvector:x"],
        ["verify", "milvus:x.db"],
        ["build", "--image-dir", ".", "--index-prefix", "pgvector:x"],
    ],
)
def test_what_works_on_files_says_so_of_another_store(command, capsys):
    assert cli.main(["index", *command]) == 2
    assert "windmill index load PREFIX --store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("pgvector:No Such", "a-z"),
        ("milvus:photos", "FILE.db"),
        ("milvus:http://me:secret@host:19530", "MILVUS_TOKEN"),
        ("milvus:http://host:19530#not-a-name", "digits"),
        ("milvus:nowhere/photos.db", "no index there"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_what_helps(address, says, tmp_path, monkeypatch):
    pytest.importorskip("pymilvus")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says) as caught:
        open_store(address, Settings())
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "nowhere").exists()
