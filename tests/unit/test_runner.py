"""The corridor, walked in memory: what is written, what follows, and what becomes of each message."""

import threading
from collections import Counter
from dataclasses import replace

import pytest

from windmill import catalog, parking
from windmill.core import retrying, wire
from windmill.errors import (
    BadReply,
    ConfigError,
    ImageError,
    ServiceBusy,
    ServiceUnavailable,
    StaleBox,
    StoreError,
    StoreUnavailable,
)
from windmill.handlers.analyze import Analyze
from windmill.model import (
    Ack,
    Again,
    Delivery,
    Dispatch,
    Handled,
    Image,
    Job,
    Outcome,
    Snapshot,
    Status,
)
from windmill.parking import Parking
from windmill.runner import Limits, Runner
from windmill.writing import Recompute, Save

PATIENCE = 5.0  # seconds after which a test that waits for an event has failed


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Waits between looks at what is down are short."""
    for module in (parking, retrying):
        monkeypatch.setattr(module, "backoff", lambda *_, **__: 0.005)


class Queue:
    """A consumer over a list of deliveries; stops the runner when all of them are settled."""

    def __init__(self, stop, *bodies, attempt=0, redelivered=False):
        self.stop = stop
        self.waiting = [
            Delivery(service="yolov8", body=body, attempt=attempt, token=n, redelivered=redelivered)
            for n, body in enumerate(bodies)
        ]
        self.left = len(bodies)
        self.settled = []

    def take(self, limit, timeout):
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken:
            self.stop.wait(timeout)
        return taken

    def settle(self, settlements):
        self.settled += [(s.delivery.token, s.decision) for s in settlements]
        if len(self.settled) == self.left:
            self.stop.set()

    def pause(self):
        self.waiting = []


class Table:
    """A store that refuses what `refuse` says, and remembers batches."""

    def __init__(self, refuse=lambda rows: None):
        self.refuse = refuse
        self.batches = []
        self.recomputed = []

    def save(self, outcomes):
        rows = [row for outcome in outcomes for row in outcome.rows]
        error = self.refuse(rows)
        if error:
            raise error
        self.batches.append(rows)

    def recompute(self, image_ids, step):
        self.recomputed.append(list(image_ids))
        return [step(Snapshot(image=Image(image_id=n, path="x"), replies=())) for n in image_ids]

    @property
    def rows(self):
        return [row for batch in self.batches for row in batch]


class Outbox:
    def __init__(self):
        self.sent = []

    def publish(self, dispatches):
        self.sent += dispatches


class Photos:
    def upright(self, image):
        if image.path == "missing.jpg":
            raise ImageError("missing.jpg: no such file")
        return b"jpeg"


class Detector:
    """A service that answers from a list: bytes are bodies, exceptions are raised; the last one stays."""

    def __init__(self, *answers, health=()):
        self.answers = list(answers)
        self.health = list(health)
        self.asked = threading.Event()

    def analyze(self, picture):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def healthy(self):
        self.asked.set()
        return self.health.pop(0) if self.health else True


class Ear:
    """A middleware that remembers."""

    def __init__(self):
        self.heard = []

    def settled(self, handled):
        self.heard.append(type(handled.decision).__name__)

    def parked(self, reason):
        self.heard.append("parked")

    def resumed(self):
        self.heard.append("resumed")


CAT = '{"status": "success", "predictions": [{"emoji": "🐈", "confidence": 0.9}]}'.encode()
LOADED = catalog.Service(
    name="yolov8", port=7773, service_types=("spatial",), triggers=("bbox_merger", "consensus")
)


def job(image_id=1, path="cat.jpg"):
    return wire.encode(Job(image=Image(image_id=image_id, path=path)))


def handled(image_id, **delivery):
    return Handled(
        delivery=Delivery(service="bbox_merger", body=b"", attempt=0, token=0, **delivery),
        job=Job(image=Image(image_id=image_id, path="x")),
        outcome=Outcome(),
        decision=Ack(),
    )


def walk(*bodies, detector=None, table=None, ear=None, **delivery):
    """Runs a worker of yolov8 over `bodies` until all are settled."""
    stop = threading.Event()
    queue = Queue(stop, *bodies, **delivery)
    table, outbox, detector = table or Table(), Outbox(), detector or Detector(CAT)
    handler = Analyze(service=LOADED, images=Photos(), caller=detector)
    middleware = [ear] if ear else []
    Runner(
        consumer=queue,
        publisher=outbox,
        handler=Parking(handler, detector, stop, middleware),
        write=Save(table),
        limits=Limits(concurrency=2, max_retries=3, grace=PATIENCE),
        stop=stop,
        middleware=middleware,
    ).run()
    return queue, table, outbox


def test_a_result_is_stored_then_followed_then_acked():
    queue, table, outbox = walk(job())
    assert [(row.image_id, row.service, row.status, row.found) for row in table.rows] == [
        (1, "yolov8", Status.SUCCESS, 1)
    ]
    assert table.rows[0].data == CAT.decode()
    assert [d.services for d in outbox.sent] == [("bbox_merger", "consensus")]
    assert queue.settled == [(0, Ack())]


def test_a_message_that_is_no_job_is_buried_and_leaves_no_row():
    queue, table, _ = walk(b"\xff{", job())
    decisions = dict(queue.settled)
    assert decisions == {0: Ack(), 1: Ack()}
    assert len(table.rows) == 1


def test_a_bad_file_gets_an_error_row_and_nothing_else_stops():
    queue, table, _ = walk(job(1, "missing.jpg"), job(2))
    assert {row.image_id: row.status for row in table.rows} == {1: Status.ERROR, 2: Status.SUCCESS}
    failed = next(row for row in table.rows if row.image_id == 1)
    assert failed.error == "ImageError: missing.jpg: no such file"
    assert dict(queue.settled)[0] == Ack()


def test_a_busy_service_is_tried_again_later_without_a_row():
    busy = ServiceBusy("429", service="yolov8", retry_after=20)
    queue, table, _ = walk(job(), detector=Detector(busy))
    assert queue.settled == [(0, Again(delay=30.0, attempt=1))]
    assert table.rows == []


def test_the_last_attempt_leaves_an_error_row():
    queue, table, _ = walk(job(), detector=Detector(ServiceBusy("500", service="yolov8")), attempt=3)
    assert queue.settled == [(0, Ack())]
    assert [row.status for row in table.rows] == [Status.ERROR]


def test_a_reply_off_the_contract_is_kept_with_its_error():
    _, table, _ = walk(job(), detector=Detector(b"<html>sorry</html>"))
    assert table.rows[0].status is Status.ERROR
    assert "<html>sorry</html>" in table.rows[0].data
    assert BadReply.__name__ in table.rows[0].data


def test_a_service_that_is_down_spends_no_attempt():
    ear = Ear()
    down = ServiceUnavailable("refused", service="yolov8")
    queue, table, _ = walk(job(), detector=Detector(down, CAT, health=[False, False, True]), ear=ear)
    assert queue.settled == [(0, Ack())]
    assert [row.status for row in table.rows] == [Status.SUCCESS]
    assert ear.heard == ["parked", "resumed", "Ack"]


def test_a_healthy_service_that_times_out_on_an_image_counts_attempts():
    slow = ServiceUnavailable("no answer", service="yolov8", timed_out=True)
    assert walk(job(), detector=Detector(slow))[0].settled == [(0, Again(delay=1.0, attempt=1))]
    assert walk(job(), detector=Detector(slow), attempt=3)[1].rows[0].status is Status.TIMEOUT


def test_a_worker_that_is_stopped_while_its_service_is_down_settles_nothing():
    stop = threading.Event()
    detector = Detector(ServiceUnavailable("refused", service="yolov8"), health=[False] * 1000)
    parking = Parking(Analyze(service=LOADED, images=Photos(), caller=detector), detector, stop)
    queue = Queue(stop, job())
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=parking,
        write=Save(Table()),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    )
    thread = threading.Thread(target=runner.run)
    thread.start()
    assert detector.asked.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert queue.settled == []


def test_a_service_that_stays_down_gets_its_jobs_back_without_an_attempt_spent():
    stop, ear = threading.Event(), Ear()
    detector = Detector(ServiceUnavailable("refused", service="yolov8"), health=[False] * 9)
    handler = Analyze(service=LOADED, images=Photos(), caller=detector)
    queue = Queue(stop, job(), attempt=2)
    Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=Parking(handler, detector, stop, [ear], patience=0),
        write=Save(Table()),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    ).run()
    assert queue.settled == [(0, Again(delay=600.0, attempt=2))]


def test_one_bad_row_costs_one_row():
    def refuse(rows):
        return StoreError("image 2 does not exist") if any(row.image_id == 2 for row in rows) else None

    queue, table, _ = walk(job(1), job(2), job(3), table=Table(refuse))
    assert sorted(row.image_id for row in table.rows) == [1, 3]
    assert Counter(type(d).__name__ for _, d in queue.settled) == {"Ack": 3}


def test_a_stale_box_is_acked():
    queue, _, _ = walk(job(), table=Table(lambda rows: StaleBox("replaced") if rows else None))
    assert queue.settled == [(0, Ack())]


def test_a_store_that_is_down_is_waited_for_and_no_attempt_is_spent():
    answers = [StoreUnavailable("connection refused"), StoreUnavailable("starting up"), None]
    ear = Ear()
    queue, table, _ = walk(job(), table=Table(lambda rows: answers.pop(0)), ear=ear)
    assert queue.settled == [(0, Ack())]
    assert len(table.rows) == 1
    assert ear.heard == ["parked", "resumed", "Ack"]


def test_a_wrong_setting_ends_the_worker_and_no_job():
    stop = threading.Event()
    queue = Queue(stop, job())
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=Analyze(service=LOADED, images=Photos(), caller=Detector(CAT)),
        write=Save(Table(lambda rows: ConfigError("no tables: run `windmill schema`"))),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    )
    with pytest.raises(ConfigError, match="windmill schema"):
        runner.run()
    assert queue.settled == []


def test_a_consumer_that_fails_for_good_ends_the_worker():
    class Refused(Queue):
        def take(self, limit, timeout):
            raise ConfigError("no permission to read the queue")

    runner = Runner(
        consumer=Refused(threading.Event()),
        publisher=Outbox(),
        handler=Analyze(service=LOADED, images=Photos(), caller=Detector(CAT)),
        write=Save(Table()),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=threading.Event(),
    )
    with pytest.raises(ConfigError, match="no permission"):
        runner.run()


def test_what_nobody_foresaw_is_tried_again_and_then_leaves_a_row():
    queue, _, _ = walk(job(), detector=Detector(ZeroDivisionError("bug")))
    assert queue.settled == [(0, Again(delay=1.0, attempt=1))]
    queue, table, _ = walk(job(), detector=Detector(ZeroDivisionError("bug")), attempt=3)
    assert queue.settled == [(0, Ack())]
    assert table.rows[0].error == "ZeroDivisionError: bug"


def test_five_jobs_for_one_image_recompute_it_once():
    table, follower = Table(), Dispatch(job=Job(image=Image(image_id=1, path="x")), services=("consensus",))
    seen = []

    def step(snapshot, *, resumed):
        seen.append((snapshot.image.image_id, resumed))
        return Outcome(followers=(follower,))

    batch = [handled(1)] * 4 + [handled(1, redelivered=True), handled(2)]
    assert Recompute(table, step)(batch) == [Outcome(followers=(follower,))] * 2
    assert table.recomputed == [[1, 2]]
    assert seen == [(1, True), (2, False)]


def test_a_job_that_failed_is_not_recomputed():
    table = Table()
    assert list(Recompute(table, None)([replace(handled(1), error=StoreError("no"))])) == []
    assert table.recomputed == []


def test_middleware_hears_of_every_job():
    ear = Ear()
    walk(job(1), job(2), ear=ear)
    assert ear.heard == ["Ack", "Ack"]
