"""What an index worker writes, when, and what it does where that cannot be done."""

import json
import threading
from array import array
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.test_runner import PATIENCE, Detector, Ear, Outbox, Photos, Queue, Table, job
from tests.waiting import until
from windmill import catalog
from windmill.breaker import Breaker
from windmill.committing import Gathering
from windmill.core import retrying
from windmill.errors import ConfigError, OtherEmbedder, ServiceChanged, StoreError, StoreUnavailable
from windmill.handlers.embed import Embed
from windmill.index import writing
from windmill.index.memory import MemoryStore
from windmill.index.vectors import Embedder
from windmill.index.writing import IndexWriter, OneModel
from windmill.model import Ack, Again, DispatchRow, EmbeddingRow, Handled, Outcome, State
from windmill.runner import Limits, Runner
from windmill.writing import Save

CLIP = Embedder(service="clip", name="ViT-B-32", version="1", dimension=2)
OTHER = replace(CLIP, version="2")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Waits between looks at what is down are short."""
    monkeypatch.setattr(retrying, "backoff", lambda *_, **__: 0.005)
    monkeypatch.setattr(writing, "_LOOK", 0.005)
    for name in ("runner", "committing"):
        monkeypatch.setattr(f"windmill.{name}._POLL", 0.005)


def body(vector=(0.6, 0.8), version="1"):
    info = {"name": "ViT-B-32", "version": version}
    reply = {"status": "success", "embedding": vector, "metadata": {"model_info": info}}
    return json.dumps(reply).encode()


class Service(Detector):
    """An embedding service; `model` is what /health tells."""

    model = "ViT-B-32 1"

    def version(self):
        return self.model


class Index(MemoryStore):
    """Remembers each upsert, and raises what `trouble` has before."""

    def __init__(self, embedder=CLIP, trouble=()):
        super().__init__(embedder)
        self.trouble = list(trouble)
        self.upserts = []

    @property
    def upserted(self):
        """The images of all upserts, in order."""
        return [image_id for upsert in self.upserts for image_id in upsert]

    def upsert(self, vectors):
        if self.trouble:
            raise self.trouble.pop(0)
        self.upserts.append(vectors.ids.tolist())
        super().upsert(vectors)


class Refusing:
    """What opens the index of a model, and refuses all others."""

    def __init__(self, index):
        self.index = index

    def __call__(self, embedder):
        if embedder != self.index.embedder:
            raise OtherEmbedder(f"an index of {self.index.embedder}")
        return self.index


def walk(*bodies, service=None, index=None, table=None, gathering=None, until_=None):
    """Runs an index worker over `bodies` until all are settled, or `until_` has happened."""
    stop = threading.Event()
    queue, ear = Queue(stop, *bodies), Ear()
    service, index, table = service or Service(body()), index or Index(), table or Table()
    worker = catalog.facts("index_clip")
    looking = Breaker(Embed(worker=worker, images=Photos(), caller=service), service, [ear])
    writer = IndexWriter(Refusing(index), Save(table))
    one_model = OneModel(looking, writer, service.version, [ear])
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=one_model,
        write=writer,
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
        gates=[one_model],
        middleware=[ear],
        gathering=gathering or Gathering(most=lambda: len(bodies), seconds=PATIENCE),
    )
    if until_ is None:
        runner.run()
    else:
        thread = threading.Thread(target=runner.run)
        thread.start()
        until(lambda: until_(queue, table, ear), PATIENCE)
        stop.set()
        thread.join()
    return queue, index, table, ear


def jobs(count):
    return [job(n) for n in range(1, count + 1)]


def test_a_segment_is_written_before_the_ledger_and_acked_after_it():
    index = Index()
    seen = []
    table = Table(lambda rows: seen.append((list(index.upserts), len(rows))))
    queue, _, _, _ = walk(*jobs(5), index=index, table=table)
    assert seen == [([[1, 2, 3, 4, 5]], 10)]
    assert queue.settled == [(n, Ack()) for n in range(5)]
    found = index.fetch(np.array([3]))
    assert (found.paths, found.embeddings.tolist()) == (
        ("cat.jpg",),
        [[pytest.approx(0.6), pytest.approx(0.8)]],
    )
    assert {(row.service, row.state, row.found) for row in table.of(DispatchRow)} == {
        ("index_clip", State.DONE, 1)
    }


def test_what_has_come_is_written_after_a_while_or_when_there_is_enough():
    _, index, _, _ = walk(*jobs(4), gathering=Gathering(most=lambda: 2, seconds=PATIENCE))
    assert index.upserts == [[1, 2], [3, 4]]
    _, index, _, _ = walk(*jobs(4), gathering=Gathering(most=lambda: 100, seconds=0.05))
    assert index.upserted == [1, 2, 3, 4]


def test_a_worker_that_is_stopped_writes_at_once_what_it_has():
    gathering = Gathering(most=lambda: 100, seconds=1000.0)
    queue, index, _, _ = walk(*jobs(3), gathering=gathering, until_=lambda queue, *_: not queue.waiting)
    assert sorted(index.upserted) == [1, 2, 3]
    assert len(queue.settled) == 3


def test_nothing_to_embed_is_a_result_and_not_in_the_index():
    service = Service(b'{"status": "success", "embedding": null}')
    _, index, table, _ = walk(job(1), service=service)
    assert index.upserts == []
    assert [(row.state, row.found) for row in table.of(DispatchRow)] == [(State.DONE, 0)]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b'{"status": "success", "embedding": [0.6, 0.8], "dimension": 3}', "dimension: 3"),
        (body((6.0, 8.0)), "embedding"),
        (body((0.5, 0.5)), "length 1"),
        (body(()), "embedding: expected a list of numbers"),
        (b'{"status": "success"}', "embedding: expected a list of numbers, got nothing"),
        (body((float("nan"), 1.0)), "NaN"),
    ],
)
def test_a_vector_that_could_not_be_compared_is_refused(reply, said):
    _, index, table, _ = walk(job(1), service=Service(reply))
    (row,) = table.of(DispatchRow)
    assert (row.state, row.error_class) == (State.FAILED, "BadReply")
    assert said in row.error
    assert index.upserts == []


@pytest.mark.parametrize(
    "trouble",
    [
        StoreUnavailable("no room is left on its disk"),
        StoreError("Permission denied"),
        ConfigError("there is no index any more"),
    ],
)
def test_where_the_index_cannot_be_written_all_wait_and_none_is_given_up(trouble):
    _, index, table, ear = walk(*jobs(3), index=Index(trouble=[trouble, trouble]))
    assert index.upserts == [[1, 2, 3]]
    assert {row.state for row in table.of(DispatchRow)} == {State.DONE}
    assert ear.heard[:2] == ["parked", "resumed"]


def test_a_segment_is_written_once_though_the_database_is_away():
    away = iter([StoreUnavailable("away"), StoreUnavailable("away"), None])
    _, index, _, _ = walk(*jobs(3), table=Table(lambda rows: next(away)))
    assert index.upserts == [[1, 2, 3]]


def test_a_row_that_the_database_refuses_costs_no_further_segments():
    def refuse(rows):
        gone = any(
            isinstance(row, DispatchRow) and row.image_id == 2 and row.state is State.DONE for row in rows
        )
        return StoreError("the image is gone") if gone else None

    _, index, table, _ = walk(*jobs(3), table=Table(refuse))
    assert index.upserts == [[1, 2, 3]]
    assert {row.image_id: row.state for row in table.of(DispatchRow)} == {
        1: State.DONE, 2: State.FAILED, 3: State.DONE,
    }  # fmt: skip


def parked(queue, table, ear):
    return "parked" in ear.heard and State.PARKED in {row.state for row in table.of(DispatchRow)}


def test_another_model_than_the_index_has_spends_no_job():
    """As when a worker is started on an index that is there."""
    queue, index, table, _ = walk(*jobs(200), service=Service(body(version="2")), until_=parked,
                                  gathering=Gathering(most=lambda: 1, seconds=0.0))  # fmt: skip
    assert index.upserts == []
    assert all(isinstance(decision, Again) and decision.attempt == 0 for _, decision in queue.settled)
    assert {(row.state, row.error_class, row.attempted) for row in table.of(DispatchRow)} == {
        (State.PARKED, "ServiceChanged", False)
    }
    assert "an index of clip (ViT-B-32 1, 2 dimensions)" in table.of(DispatchRow)[0].error


def test_a_worker_goes_on_once_its_service_has_the_right_model_again():
    class Changing(Service):
        def version(self):
            """After the first question, it is restarted."""
            told, self.model, self.answers = self.model, "ViT-B-32 1", [body()]
            return told

    service = Changing(body(), body(version="2"))
    service.model = "ViT-B-32 2"
    queue, index, _, ear = walk(*jobs(30), service=service, gathering=Gathering(most=lambda: 1, seconds=0.0))
    decisions = dict(queue.settled)
    assert decisions[0] == Ack()
    assert isinstance(decisions[1], Again)
    assert {1, 30} <= set(index.upserted)
    assert 2 not in index.upserted
    assert [word for word in ear.heard if word in ("parked", "resumed")] == ["parked", "resumed"]


ROW = EmbeddingRow(
    image_id=1,
    place="x",
    service="clip",
    model_name="ViT-B-32",
    model_version="1",
    vector=array("f", [0.6, 0.8]).tobytes(),
)
BATCH = [Handled(delivery=None, job=None, outcome=Outcome(rows=(ROW,)), decision=Ack())]


def test_a_service_that_told_the_right_model_too_late_is_tried_again(monkeypatch):
    """It was restarted between its reply and the first question, and tells no other model after that."""
    monkeypatch.setattr(writing, "_TRY", 0.02)
    writer = IndexWriter(Refusing(Index()), lambda batch: ())
    writer(BATCH)
    late = Outcome(rows=(replace(ROW, model_version="2"),))
    one_model = OneModel(lambda job: late, writer, lambda: "ViT-B-32 1")
    with pytest.raises(ServiceChanged):
        one_model(None)
    one_model.wait(threading.Event())
    assert not one_model.shut


def test_what_was_deleted_after_it_was_saved_is_written_again():
    index = Index()
    writer = IndexWriter(Refusing(index), lambda batch: ())
    writer(BATCH)
    index.delete(np.array([1]))
    writer(BATCH)
    assert index.count() == 1


def test_trouble_after_vectors_were_added_costs_no_further_segments():
    index, saved = Index(), []

    def added(store):
        raise StoreError("cannot look whether a merge is due")

    writer = IndexWriter(Refusing(index), saved.append, added)
    with pytest.raises(StoreUnavailable):
        writer(BATCH)
    writer(BATCH)
    assert (index.upserts, saved) == ([[1]], [BATCH])


def test_a_row_says_whose_vector_it_is():
    assert writing.embedder_of(ROW) == CLIP
