"""The engine `queue`: what is sent, what is awaited, and what is said where nothing moves."""

import logging
from contextlib import nullcontext

import numpy as np
import pytest

from windmill.engines import queue
from windmill.engines.building import Plan
from windmill.engines.queue import Means, Queue
from windmill.errors import ChildDiedError, ConfigError
from windmill.findings import Standing
from windmill.index.memory import MemoryStore
from windmill.index.vectors import Embedder, Vectors
from windmill.ingesting import Admitted
from windmill.memory import MemoryBroker
from windmill.model import Dispatch, Image, Job, State

CLIP = Embedder(service="clip", name="c", version="1", dimension=2)
PLAN = Plan(source="photos", service="clip", batch=8)


class Fleet:
    """A ledger, and workers that do with what they were sent, at each look, as `becomes` says of it."""

    def __init__(self, store, becomes=lambda image_id: (State.DONE, 1)):
        self.store, self.becomes = store, becomes
        self.states, self.sent, self.working = {}, [], True

    def send(self, selection, send, *, after, limit):
        chosen = [one for one in selection.images if one > after][:limit]
        window = [
            Dispatch(job=Job(image=Image(image_id=one, path="x")), services=selection.services)
            for one in chosen
        ]
        send(window)
        self.sent += chosen
        self.states |= dict.fromkeys(chosen, (State.QUEUED, None))
        return window, chosen[-1] if chosen else after

    def standings(self, service, image_ids):
        if self.working:
            for one in [one for one, (state, _) in self.states.items() if state is State.QUEUED]:
                self.states[one] = self.becomes(one)
                if self.states[one] == (State.DONE, 1):
                    index(self.store, one)
        return [
            Standing(image_id=one, state=self.states[one][0], found=self.states[one][1], place=f"/{one}.jpg",
                     error="why" if self.states[one][0] is State.FAILED else "")
            for one in image_ids if one in self.states
        ]  # fmt: skip


class Meter:
    """Remembers what it was told last."""

    def update(self, done, total=None):
        self.told = (done, total)


def index(store, image_id):
    vector = np.array([[0.6, 0.8]], np.float32)
    store.upsert(Vectors(ids=np.array([image_id]), paths=(f"/{image_id}.jpg",), embeddings=vector))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(queue, "_LOOK", 0.001)
    monkeypatch.setattr(queue, "_CHUNK", 3)


def build(fleet, batches, *, bad=(), check=lambda: None, store=None):
    """What becomes of images that are admitted in these batches."""

    def admit(folder, tell):
        for batch in batches:
            tell(batch)
        return Admitted(bad=list(bad), bad_count=len(bad))

    means = Means(ledger=fleet, broker=MemoryBroker(), admit=admit, check=check)
    engine = Queue(
        opening=lambda: nullcontext(means), worker="index_clip", place="/nas/i", max_queue_depth=100
    )
    meter = Meter()
    return engine(PLAN, store or fleet.store, meter), meter


def test_what_the_index_lacks_is_sent_once_and_awaited():
    fleet = Fleet(MemoryStore(CLIP))
    index(fleet.store, 2)
    built, meter = build(fleet, [[1, 2, 3], [3, 4], [5, 1, 6, 7]], bad=["torn.jpg: cut short"])
    assert sorted(fleet.sent) == [1, 3, 4, 5, 6, 7]
    assert (built.added, built.known, built.bad) == (6, 1, ("torn.jpg: cut short",))
    assert meter.told == (7, 7)


def test_what_is_done_elsewhere_is_sent_again_and_what_waits_is_not():
    fleet = Fleet(MemoryStore(CLIP))
    fleet.states = {1: (State.DONE, 1), 2: (State.QUEUED, None), 3: (State.FAILED, None), 4: (State.DONE, 0)}
    built, _ = build(fleet, [[1, 2, 3, 4]])
    assert fleet.sent == [1]
    assert (built.added, built.known, built.without, built.bad) == (1, 1, 1, ("/3.jpg: why",))


def test_what_fails_is_told_by_name():
    fleet = Fleet(
        MemoryStore(CLIP),
        lambda one: (State.FAILED, None) if one == 2 else (State.DONE, 1 if one == 1 else 0),
    )
    built, _ = build(fleet, [[1, 2, 3]])
    assert (built.added, built.without, built.bad) == (1, 1, ("/2.jpg: why",))


def test_workers_that_write_elsewhere_are_told():
    fleet = Fleet(MemoryStore(CLIP))
    with pytest.raises(ConfigError, match=r"3 of 3 images .* INDEX_PREFIX=/nas/i"):
        build(fleet, [[1, 2, 3]], store=MemoryStore(CLIP))


def test_nobody_at_the_queue_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(queue, "_CALM", 0.0)
    fleet = Fleet(MemoryStore(CLIP))
    fleet.working = False
    looks = []

    def check():
        looks.append(1)
        fleet.working = len(looks) > 5

    with caplog.at_level(logging.WARNING):
        build(fleet, [[1]], check=check)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("no worker takes from queue_index_clip. Start one on any box:")
    assert "INDEX_PREFIX=/nas/i windmill work index_clip" in said


def test_a_worker_started_for_it_that_dies_ends_it():
    fleet = Fleet(MemoryStore(CLIP))
    fleet.working = False

    def check():
        raise ChildDiedError("index_clip-0 ended by itself")

    with pytest.raises(ChildDiedError):
        build(fleet, [[1]], check=check)
