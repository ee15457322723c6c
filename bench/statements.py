"""What workers say to PostgreSQL: a round of everything that they do, with each statement as it was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812 -- a class, whatever its name
from psycopg2.extensions import cursor as PgCursor  # noqa: N812

from windmill import wiring
from windmill.catalog import MERGER, facts
from windmill.core import wire
from windmill.core.reach import Reach
from windmill.dead import Matching
from windmill.handlers.merge import Merge
from windmill.handlers.vote import Vote
from windmill.model import (
    Ack,
    Again,
    DeadRow,
    Delivery,
    Dispatch,
    DispatchRow,
    Image,
    ImagesAgain,
    Job,
    Missing,
    Numbering,
    Outcome,
    PostprocessingRow,
    ResultRow,
    Seen,
    Settlement,
    Snapshot,
    State,
    Status,
    TheseImages,
    Which,
)
from windmill.postgres.broker import connect as connect_broker
from windmill.postgres.facts import PostgresFacts
from windmill.postgres.graveyard import PostgresGraveyard
from windmill.postgres.histories import PostgresHistories
from windmill.postgres.ledger import PostgresLedger
from windmill.postgres.queries import queries
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

NEW = "yolo_oi7"  # a service that no image has an answer of
_PATIENCE = 10.0  # seconds for a job that is there
_LOOK = 0.01


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement by its name in queries.sql, as the server got it, and the seconds until its answer.

    `cpu` are those of the server's CPU, which other load on the machine hardly changes.
    """

    name: str
    text: bytes
    seconds: float
    cpu: float


@contextmanager
def recording() -> Iterator[list[Sent]]:
    """Every statement that is sent over connections which open meanwhile."""
    sent: list[Sent] = []

    class Recorder(PgCursor):
        def execute(self, *words: Any) -> None:
            pid = self.connection.info.backend_pid
            began, before = time.perf_counter(), cpu_seconds(pid)
            super().execute(*words)
            seconds = time.perf_counter() - began
            sent.append(Sent(_name(self.query), self.query, seconds, cpu_seconds(pid) - before))

    def recorded(*words: Any, connect: Any = psycopg2.connect, **named: Any) -> PgConnection:
        connection: PgConnection = connect(*words, cursor_factory=Recorder, **named)
        return connection

    with patch("psycopg2.connect", recorded):
        yield sent


def cpu_seconds(pid: int) -> float:
    """Time on a CPU so far, to the nanosecond; Linux alone tells that (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9


def _name(statement: bytes) -> str:
    """The statement's name: the longest beginning, up to the first gap, that it shares with one; or none."""
    found = [(len(start), name) for name, start in _starts().items() if statement.startswith(start)]
    return max(found, default=(0, ""))[1]


@cache
def _starts() -> dict[str, bytes]:
    return {name: text.split("%", 1)[0].split("{", 1)[0].encode() for name, text in queries().items()}


def store_round(settings: Settings, images: Sequence[int]) -> None:
    """Results, boxes, votes, crops, and jobs that are given up, for all of the images at once."""
    detectors, consensus = wiring.detectors(settings), wiring.consensus_rule(settings)
    merge = Merge(merger=facts(MERGER), detectors=detectors)
    vote = Vote(clock=time.monotonic, rule=consensus.vote)
    fresh = Seen(image_ids=tuple(images), stage=MERGER, rule=str(merge.rule))
    seen: list[Snapshot] = []

    def look(snapshot: Snapshot) -> Outcome:
        seen.append(snapshot)
        return vote(snapshot, resumed=False)

    with closing(PostgresStore(settings, "bench")) as store:
        store.save([_answered(image) for image in images])
        store.recompute(images, lambda snapshot: merge(snapshot, resumed=False), fresh)
        store.recompute(images, look)
        store.save([_looked(one.image.image_id, box.key) for one in seen for box in one.boxes])
        store.save([_scored(image) for image in images])
        store.save([_given_up(image) for image in images])


def _answered(image: int) -> Outcome:
    """As `Analyze` says it."""
    place = {"x": 300, "y": 200, "width": 90 + image % 9, "height": 80}
    seen = {"label": "Dog", "confidence": 0.8, "emoji": "🐕", "bbox": place}
    reply = {"service": NEW, "status": "success", "predictions": [seen], "metadata": {"version": f"{NEW} 1"}}
    service = facts(NEW)
    row = ResultRow(
        image_id=image,
        service=NEW,
        status=Status.SUCCESS,
        data=json.dumps(reply, ensure_ascii=False),
        service_types=service.service_types,
        bbox_format=service.bbox_format,
        vocabulary="openimages",
        processing_time=0.3,
        model_version=f"{NEW} 1",
    )
    settled = DispatchRow(image_id=image, service=NEW, version="", state=State.DONE, found=1)
    return Outcome(rows=(row, settled))


def _looked(image: int, key: str) -> Outcome:
    data = json.dumps({"predictions": [{"primary": {"hex": "#2f5b7c"}}]})
    row = PostprocessingRow(image_id=image, box_key=key, service="colors", status=Status.SUCCESS, data=data)
    return Outcome(rows=(row,))


def _scored(image: int) -> Outcome:
    row = PostprocessingRow(
        image_id=image, box_key=None, service="caption_score_ollama", status=Status.SUCCESS, data="{}"
    )
    return Outcome(rows=(row,))


def _given_up(image: int) -> Outcome:
    row = DeadRow(
        service=NEW, image_id=image, body=_body(image), attempts=3, error_class="BadReply", error="no"
    )
    return Outcome(rows=(row,))


def _body(image: int) -> bytes:
    return wire.encode(Job(image=Image(image_id=image, path=f"/photos/{image}.jpg")))


def send_round(settings: Settings, images: int) -> None:
    """The producer's windows, to a broker that takes everything; ends in the middle of the images."""
    again = ImagesAgain(services=(NEW,), which=Which.ALL)
    with closing(PostgresLedger(settings, "bench")) as ledger:
        for asked in (Missing(services=("label_embedding",)), again):
            ledger.send(asked, _taken, after=images // 2, limit=5)
        some = tuple(range(images // 2, images // 2 + 20))
        ledger.send(TheseImages(services=(NEW,), images=some), _taken, after=0, limit=5)
        ledger.standings(NEW, some)


def _taken(_: Sequence[Dispatch]) -> None:
    """What a broker does that takes everything."""


def broker_round(settings: Settings, images: Sequence[int]) -> None:
    """Sends a job about each image, takes all, gives one back, has one come again, and acks the rest."""
    jobs = [Dispatch(job=wire.decode(_body(image)), services=(NEW,)) for image in images]
    with closing(connect_broker(settings, "bench")) as broker:
        broker.publish(jobs)
        idle = broker.consumer("nothing", Reach(1, fixed=True))
        for _ in range(2):  # between the two it has asked when the next job is due
            idle.take_suspect()
        consumer = broker.consumer(NEW, Reach(len(images), fixed=True))
        taken: list[Delivery] = []
        while len(taken) < len(images):
            found = consumer.take(len(images) - len(taken), _PATIENCE)
            assert found, "a job is gone"
            taken += found
        back, again, *rest = taken
        del back  # it goes back when the consumer closes
        consumer.settle([Settlement(delivery=one, decision=Ack()) for one in rest])
        consumer.settle([Settlement(delivery=again, decision=Again(delay=0.0, attempt=1))])
        consumer.depth()
        consumer.take_suspect()
        consumer.pause()
        while broker.queue_states([NEW])[NEW].consumers:
            time.sleep(_LOOK)
        consumer.close()


def lookup_round(settings: Settings, image: int) -> None:
    """What people ask about one image."""
    with closing(PostgresHistories(settings, "bench")) as histories:
        for name in (str(image), f"{image:012}.jpg", f"/photos/{image // 1000}/{image:012}.jpg"):
            histories.find(name)
        histories.case(image)
    with closing(PostgresFacts(settings, "bench")) as facts:
        facts.of([image, image + 1], Numbering.CONTENT)
        facts.image(image, Numbering.IMAGES)
    with closing(PostgresGraveyard(settings, "bench")) as graveyard:
        graveyard.jobs(Matching(image_id=image), after=0, limit=10)
