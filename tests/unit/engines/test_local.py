"""The engine `local`: what is embedded, what is known already, what is bad, and what a failure leaves."""

import dataclasses
import os
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.unit.engines.made import EMBEDDER, Meter, Model, number, replace, vector
from windmill.engines import notes
from windmill.engines.building import Plan
from windmill.engines.local import Local
from windmill.errors import StoreError, StoreUnavailable
from windmill.files import read_file
from windmill.index.memory import MemoryStore
from windmill.index.vectors import Vectors


class Box:
    """A folder of photos, an index, and what was read."""

    def __init__(self, place):
        self.photos, self.notes = place / "photos", place / "index" / "files.sqlite"
        self.photos.mkdir()
        self.store = MemoryStore(EMBEDDER)
        self.read, self.model, self.meter = [], Model(), Meter()

    def put(self, name, data):
        path = self.photos / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def build(self, batch=2, store=None, **options):
        self.read, self.model, self.meter = [], Model(), Meter()
        engine = Local(model=self.model, read=self._read, **{"notes": self.notes, **options})
        return engine(
            Plan(source=str(self.photos), service="made", batch=batch), store or self.store, self.meter
        )

    def _read(self, one):
        self.read.append(one.filename)
        return read_file(Path(one.path), 1_000_000)

    def content(self):
        """What the index has: path below the folder → vector."""
        (found,) = list(self.store.scan()) or [self.store.fetch(np.empty(0, np.int64))]
        names = [os.path.relpath(path, self.photos) for path in found.paths]
        return {
            name: (int(n), row.tolist())
            for name, n, row in zip(names, found.ids, found.embeddings, strict=True)
        }

    @property
    def names(self):
        return sorted(self.content())


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_every_image_of_a_folder_is_embedded_in_batches(box):
    for n in range(5):
        box.put(f"{n}.jpg", b"photo %d" % n)
    built = box.build()
    assert (built.added, built.known, built.bad) == (5, 0, ())
    assert [len(batch) for batch in box.model.batches] == [2, 2, 1]
    assert box.content()["3.jpg"] == (number(b"photo 3"), vector(b"photo 3").tolist())
    assert box.meter.done == 5


def test_a_bad_file_is_told_by_name_and_stops_nothing(box):
    box.put("a.jpg", b"photo")
    box.put("b.jpg", b"bad")
    box.put("c.txt", b"bad: a text is no photo")
    box.put(".hidden.jpg", b"hidden")
    (box.photos / "d.jpg").symlink_to("nowhere")
    os.mkfifo(box.photos / "e.jpg")
    box.put("f.jpg", b"another")
    built = box.build()
    assert box.names == ["a.jpg", "f.jpg"]
    assert (built.ignored, built.bad_count) == (1, 3)
    assert [line.rsplit("/", 1)[1].split(":")[0] for line in built.bad] == ["b.jpg", "d.jpg", "e.jpg"]


def test_what_the_model_cannot_embed_takes_no_other_with_it(box):
    box.put("a.jpg", b"photo")
    box.put("b.jpg", b"nobody")
    box.put("c.jpg", b"poison")
    box.put("d.jpg", b"tiny")
    built = box.build(batch=8)
    assert (built.added, built.without) == (1, 2)
    assert built.bad == (f"{box.photos}/c.jpg: made broke on it",)


def test_the_second_time_nothing_is_read(box):
    box.put("a.jpg", b"photo")
    box.put("b.jpg", b"nobody")
    box.build()
    built = box.build()
    assert (built.added, built.known, built.without) == (0, 1, 1)
    assert box.read == []


def test_without_notes_files_are_read_and_none_is_embedded_again(box):
    box.put("a.jpg", b"photo")
    box.build()
    box.notes.unlink()
    built = box.build()
    assert (built.added, built.known) == (0, 1)
    assert box.read == ["a.jpg"]
    assert box.model.seen == []


def test_what_was_deleted_from_the_index_is_embedded_again(box):
    box.put("a.jpg", b"photo")
    box.build()
    box.store.delete(np.array([number(b"photo")]))
    assert box.build().added == 1


def test_copies_are_one_image_under_the_first_of_their_names(box):
    for n in range(7):
        box.put(f"{n}.jpg", b"the same" if n else b"first")
    built = box.build(batch=3)
    assert (built.added, built.known) == (2, 5)
    assert box.names == ["0.jpg", "1.jpg"]
    assert box.model.seen == [b"first", b"the same"]
    assert box.build().known == 7
    assert box.read == []


def test_a_copy_of_what_the_model_cannot_embed_is_no_image_of_the_index(box):
    box.put("a.jpg", b"nobody")
    box.put("b.jpg", b"nobody")
    built = box.build(batch=8)
    assert (built.added, built.known, built.without) == (0, 0, 2)


def test_a_replaced_file_takes_the_place_of_what_it_was(box):
    path = box.put("a.jpg", b"before")
    box.build()
    replace(path, b"after!")
    built = box.build()
    assert built.added == 1
    assert box.content() == {"a.jpg": (number(b"after!"), vector(b"after!").tolist())}


def test_what_a_replaced_file_was_stays_where_another_file_has_it(box):
    path = box.put("a.jpg", b"before")
    box.put("b.jpg", b"before")
    box.build()
    assert box.names == ["a.jpg"]
    replace(path, b"after!")
    box.build()
    assert {name: n for name, (n, _) in box.content().items()} == {
        "a.jpg": number(b"after!"),
        "b.jpg": number(b"before"),
    }


def test_files_that_change_places_stay_both(box):
    one, other = box.put("a.jpg", b"one"), box.put("b.jpg", b"other")
    box.build()
    replace(one, b"other")
    replace(other, b"one")
    built = box.build()
    assert (built.added, built.known) == (0, 2)
    assert {name: n for name, (n, _) in box.content().items()} == {
        "a.jpg": number(b"other"),
        "b.jpg": number(b"one"),
    }


def test_a_renamed_file_keeps_its_vector_under_its_new_name(box):
    box.put("a.jpg", b"photo")
    box.build()
    (box.photos / "a.jpg").rename(box.photos / "b.jpg")
    built = box.build()
    assert (built.added, built.known) == (0, 1)
    assert box.names == ["b.jpg"]
    assert box.model.seen == []


def test_a_file_that_was_only_touched_is_known(box):
    path = box.put("a.jpg", b"photo")
    box.build()
    replace(path, b"photo")
    assert box.build().known == 1
    assert box.build().known == 1
    assert box.read == []


def test_a_photo_that_became_a_bad_file_is_told_and_the_index_keeps_it(box):
    path = box.put("a.jpg", b"photo")
    box.build()
    replace(path, b"bad")
    assert box.build().bad_count == 1
    assert box.names == ["a.jpg"]


def test_what_one_model_finds_nothing_in_is_shown_to_another(box):
    """Of a new index under the prefix of one that was deleted."""
    box.put("a.jpg", b"nobody")
    assert box.build().without == 1
    other = dataclasses.replace(EMBEDDER, version="2")
    box.build(store=MemoryStore(other))
    assert box.model.seen == [b"nobody"]
    box.build(store=MemoryStore(other))
    assert box.model.seen == []


@pytest.mark.parametrize("elsewhere", ["s3a://bucket/1.jpg", "/not/mounted/1.jpg"])
def test_what_does_not_lie_below_the_folder_is_not_gone(box, elsewhere):
    path = box.put("a.jpg", b"photo")
    one = np.array([number(b"photo")])
    box.store.upsert(Vectors(ids=one, paths=[elsewhere], embeddings=vector(b"photo")[None]))
    box.build()
    assert box.store.fetch(one).paths == (elsewhere,)
    replace(path, b"after!")
    box.build()
    assert box.store.fetch(one).paths == (elsewhere,)


class Watched(MemoryStore):
    """A store that tells how many images each upsert brought, and can be full."""

    def __init__(self, room=10**9):
        super().__init__(EMBEDDER)
        self.room, self.segments = room, []

    def upsert(self, vectors):
        if self.count() + len(vectors) > self.room:
            raise StoreError("cannot write: No space left on device")
        self.segments.append(len(vectors))
        super().upsert(vectors)


def test_segments_are_written_as_it_goes(box):
    for n in range(10):
        box.put(f"{n}.jpg", b"photo %d" % n)
    store = Watched()
    box.build(store=store, segment=4)
    assert store.segments == [4, 4, 2]


def test_what_there_is_is_written_when_its_time_has_come(box):
    for n in range(4):
        box.put(f"{n}.jpg", b"photo %d" % n)
    store = Watched()
    box.build(store=store, seconds=0)
    assert len(store.segments) == 4


def test_a_full_disk_stops_it_with_what_was_written_and_the_next_run_goes_on(box):
    for n in range(10):
        box.put(f"{n}.jpg", b"photo %d" % n)
    box.store = Watched(room=4)
    with pytest.raises(StoreError, match="No space left"):
        box.build(segment=2)
    assert box.names == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    box.store.room = 10
    built = box.build()
    assert (built.added, built.known) == (6, 4)


def test_notes_that_cannot_be_kept_are_told_with_the_file_and_the_remedy(box):
    box.notes.parent.mkdir()
    box.notes.write_bytes(b"this is no database, and long enough to be seen as such" * 40)
    with pytest.raises(StoreError, match=r"files\.sqlite: the notes on files are damaged; delete it"):
        box.build()


def test_notes_for_which_the_disk_has_no_room_are_told_as_such(box, monkeypatch):
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    for name in ("a.jpg", "b.jpg"):
        box.put(name, name.encode())
    monkeypatch.setattr(notes, "_row", lambda note: (_ for _ in ()).throw(full))
    with pytest.raises(StoreUnavailable, match=r"files\.sqlite: its disk is full"):
        box.build()
    monkeypatch.undo()
    assert (box.build().known, box.model.seen) == (2, [])


def test_an_interruption_keeps_what_was_embedded(box):
    for n in range(10):
        box.put(f"{n}.jpg", b"photo %d" % n)

    class Interrupted(Model):
        def each(self, inputs):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().each(inputs)

    engine = Local(model=Interrupted(), read=box._read, notes=box.notes)
    with pytest.raises(KeyboardInterrupt):
        engine(Plan(source=str(box.photos), service="made", batch=2), box.store, Meter())
    assert len(box.names) == 6
    assert box.build().added == 4


def test_no_more_is_read_ahead_than_a_few_batches(box):
    for n in range(200):
        box.put(f"{n:03}.jpg", b"photo %d" % n)
    first, ahead = threading.Event(), []

    class Slow(Model):
        def each(self, inputs):
            if not first.is_set():
                first.set()
                ahead.append(len(box.read))
            return super().each(inputs)

    engine = Local(model=Slow(), read=box._read)
    engine(Plan(source=str(box.photos), service="made", batch=4), box.store, Meter())
    assert 4 <= ahead[0] <= 5 * 4 + 4
