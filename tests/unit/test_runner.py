"""The corridor, walked in memory: what is written, what follows, and what becomes of each message."""

import threading
from dataclasses import dataclass, field, replace

import pytest

from tests.waiting import until
from windmill import breaker, catalog
from windmill.breaker import Breaker
from windmill.core import retrying, wire
from windmill.errors import (
    BadReply,
    BrokerError,
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
    NOTHING_SEEN,
    Ack,
    Again,
    DeadRow,
    Delivery,
    Dispatch,
    DispatchRow,
    Handled,
    Image,
    Job,
    Outcome,
    ResultRow,
    Seen,
    Snapshot,
    State,
    Status,
)
from windmill.runner import Limits, Runner
from windmill.writing import Passing, Recompute, Save

PATIENCE = 60.0  # seconds after which a test that waits for an event has failed


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Waits between looks at what is down are short."""
    for module in (breaker, retrying):
        monkeypatch.setattr(module, "backoff", lambda *_, **__: 0.005)
    for name in ("runner", "committing"):
        monkeypatch.setattr(f"windmill.{name}._POLL", 0.005)


class Queue:
    """A consumer over a list of deliveries; stops the runner when all of them are settled."""

    def __init__(self, stop, *bodies, attempt=0, **delivery):
        self.stop = stop
        self.calls = []
        self.suspicious = []
        self.waiting = [
            Delivery(service="yolov8", body=body, attempt=attempt, token=n, **delivery)
            for n, body in enumerate(bodies)
        ]
        self.left = len(bodies)
        self.settled = []

    def take(self, limit, timeout):
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken:
            self.stop.wait(timeout)
        return taken

    def suspects(self):
        return bool(self.suspicious)

    def take_suspect(self):
        self.calls.append("take_suspect")
        return self.suspicious.pop(0) if self.suspicious else None

    def settle(self, settlements):
        self.settled += [(s.delivery.token, s.decision) for s in settlements]
        if len(self.settled) == self.left:
            self.stop.set()

    def pause(self):
        self.calls.append("pause")

    def resume(self):
        self.calls.append("resume")


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

    def recompute(self, image_ids, step, unless=NOTHING_SEEN):
        self.recomputed.append(list(image_ids))
        self.unless = unless
        return [step(Snapshot(image=Image(image_id=n, path="x"), replies=())) for n in image_ids]

    @property
    def rows(self):
        return self.of(ResultRow)

    def of(self, kind):
        return [row for batch in self.batches for row in batch if isinstance(row, kind)]

    @property
    def states(self):
        return [(row.state, row.error_class) for row in self.of(DispatchRow)]


class Outbox:
    def __init__(self):
        self.sent = []

    def publish(self, dispatches, *, stop):
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
        self.back = threading.Event()

    def settled(self, handled):
        self.heard.append(type(handled.decision).__name__)

    def parked(self, reason):
        self.heard.append("parked")

    def resumed(self):
        self.heard.append("resumed")
        self.back.set()


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
    middleware = [ear] if ear else []
    guarded = Breaker(Analyze(service=LOADED, images=Photos(), caller=detector), detector, middleware)
    Runner(
        consumer=queue,
        publisher=outbox,
        handler=guarded,
        write=Save(table),
        limits=Limits(concurrency=2, max_retries=3, grace=PATIENCE),
        stop=stop,
        gates=[guarded],
        middleware=middleware,
    ).run()
    return queue, table, outbox


def test_a_result_is_stored_then_followed_then_acked():
    queue, table, outbox = walk(job())
    assert [(row.image_id, row.service, row.status) for row in table.rows] == [(1, "yolov8", Status.SUCCESS)]
    assert [(row.state, row.found) for row in table.of(DispatchRow)] == [(State.DONE, 1)]
    assert table.rows[0].data == CAT.decode()
    assert [d.services for d in outbox.sent] == [("bbox_merger", "consensus")]
    assert queue.settled == [(0, Ack())]


def test_a_message_that_is_no_job_is_set_aside_and_nothing_else_stops():
    queue, table, _ = walk(b"\xff{", job())
    assert dict(queue.settled) == {0: Ack(), 1: Ack()}
    assert len(table.rows) == 1
    (dead,) = table.of(DeadRow)
    assert (dead.service, dead.image_id, dead.body, dead.error_class) == (
        "yolov8",
        None,
        b"\xff{",
        "MessageError",
    )


def test_a_bad_file_gets_an_error_row_and_nothing_else_stops():
    queue, table, _ = walk(job(1, "missing.jpg"), job(2))
    assert {row.image_id: row.status for row in table.rows} == {1: Status.ERROR, 2: Status.SUCCESS}
    assert {row.image_id: (row.state, row.error) for row in table.of(DispatchRow)} == {
        1: (State.FAILED, "missing.jpg: no such file"),
        2: (State.DONE, None),
    }
    (dead,) = table.of(DeadRow)
    assert (dead.image_id, dead.attempts, dead.error_class) == (1, 1, "ImageError")
    assert wire.decode(dead.body).image.path == "missing.jpg"
    assert dict(queue.settled) == {0: Ack(), 1: Ack()}


def test_a_busy_service_is_tried_again_when_it_wishes_and_the_ledger_says_why():
    busy = ServiceBusy("429", service="yolov8", retry_after=20)
    queue, table, _ = walk(job(), detector=Detector(busy))
    assert queue.settled == [(0, Again(delay=20.0, attempt=1))]
    assert table.rows == []
    assert table.states == [(State.QUEUED, "ServiceBusy")]


def test_delays_differ_so_that_what_failed_together_does_not_come_back_together():
    queue, _, _ = walk(
        *map(job, range(20)), detector=Detector(ServiceBusy("500", service="yolov8")), attempt=1
    )
    delays = {decision.delay for _, decision in queue.settled}
    assert len(delays) > 10
    assert all(0.75 * 5 <= delay <= 5 for delay in delays)


def test_a_suspect_is_tried_while_nothing_else_is_in_hand():
    stop, inside, beside = threading.Event(), [], {}
    queue = Queue(stop, *map(job, range(1, 7)))
    queue.suspicious = [queue.waiting.pop(), queue.waiting.pop()]
    lock = threading.Lock()

    def look(picked):
        image = picked.image.image_id
        with lock:
            inside.append(image)
            beside[image] = (len(inside), len(queue.settled))
        stop.wait(0.01)
        with lock:
            inside.remove(image)
        return Outcome()

    handler = Analyze(service=LOADED, images=Photos(), caller=Detector(CAT))
    handler = type("Watched", (), {"__call__": staticmethod(look), "failed": handler.failed})()
    Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=handler,
        write=Save(Table()),
        limits=Limits(concurrency=3, max_retries=3, grace=PATIENCE),
        stop=stop,
    ).run()
    assert (beside[6], beside[5]) == ((1, 0), (1, 1))  # alone, and after the one before was settled
    assert max(count for count, _ in beside.values()) > 1
    assert queue.calls[:5] == ["pause", "take_suspect", "take_suspect", "take_suspect", "resume"]


def test_an_image_that_its_service_dies_of_spends_attempts():
    ear = Ear()
    broken = ServiceUnavailable("it broke off in the middle", service="yolov8", broke_off=True)
    queue, table, _ = walk(job(), detector=Detector(broken, health=[False, True]), ear=ear)
    assert queue.settled[0][1].attempt == 1
    assert table.states == [(State.QUEUED, "ServiceUnavailable")]
    assert ear.heard[0] == "parked"


def test_the_last_attempt_leaves_an_error_row():
    _, table, _ = walk(job(), detector=Detector(ServiceBusy("500", service="yolov8")), attempt=3)
    assert [row.status for row in table.rows] == [Status.ERROR]
    assert table.states == [(State.FAILED, "ServiceBusy")]
    assert [row.attempts for row in table.of(DeadRow)] == [4]


def test_a_message_that_kills_workers_is_never_run_again():
    detector = Detector(AssertionError("it was run"))
    queue, table, _ = walk(job(), detector=detector, undeliverable=True)
    assert queue.settled == [(0, Ack())]
    assert table.states == [(State.FAILED, "DeliveryLimit")]
    assert [row.error_class for row in table.of(DeadRow)] == ["DeliveryLimit"]


def test_a_reply_off_the_contract_is_kept_with_its_error():
    _, table, _ = walk(job(), detector=Detector(b"<html>sorry</html>"))
    assert table.rows[0].status is Status.ERROR
    assert "<html>sorry</html>" in table.rows[0].data
    assert BadReply.__name__ in table.rows[0].data


def test_a_service_that_is_down_closes_the_queue_and_spends_no_attempt():
    ear = Ear()
    down = ServiceUnavailable("refused", service="yolov8")
    detector = Detector(down, CAT, health=[False, False, True])
    stop = threading.Event()
    queue, table = Queue(stop, job(), attempt=2), Table()
    guarded = Breaker(Analyze(service=LOADED, images=Photos(), caller=detector), detector, [ear])
    queue.settle = lambda settlements, settle=queue.settle: (settle(settlements), stop.clear())
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=guarded,
        write=Save(table),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
        gates=[guarded],
        middleware=[ear],
    )
    thread = threading.Thread(target=runner.run)
    thread.start()
    assert ear.back.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    (settled,) = queue.settled
    assert settled[1].attempt == 2
    assert table.states == [(State.PARKED, "ServiceDown")]
    assert table.of(DispatchRow)[0].attempted is False
    assert queue.calls[:2] == ["pause", "resume"]
    assert ear.heard[0] == "parked"
    assert "resumed" in ear.heard


def test_a_worker_stops_at_once_while_its_service_is_down():
    stop = threading.Event()
    detector = Detector(ServiceUnavailable("refused", service="yolov8"), health=[False] * 100_000)
    guarded = Breaker(Analyze(service=LOADED, images=Photos(), caller=detector), detector)
    queue = Queue(stop, job(), job())
    queue.left = 99  # it is not the last settlement that stops it
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=guarded,
        write=Save(Table()),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
        gates=[guarded],
    )
    thread = threading.Thread(target=runner.run)
    thread.start()
    assert detector.asked.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_healthy_service_that_times_out_on_an_image_counts_attempts():
    slow = ServiceUnavailable("no answer", service="yolov8", timed_out=True)
    ((_, decision),) = walk(job(), detector=Detector(slow))[0].settled
    assert decision.attempt == 1
    assert walk(job(), detector=Detector(slow), attempt=3)[1].rows[0].status is Status.TIMEOUT


def test_one_bad_row_costs_one_row():
    def refuse(rows):
        bad = any(isinstance(row, ResultRow) and row.image_id == 2 for row in rows)
        return StoreError("image 2 does not exist") if bad else None

    queue, table, _ = walk(job(1), job(2), job(3), table=Table(refuse))
    assert sorted(row.image_id for row in table.rows) == [1, 3]
    assert len(queue.settled) == 3


def test_what_the_database_refuses_is_set_aside_with_the_reason():
    def refuse(rows):
        return StoreError("image 2 is gone") if any(isinstance(row, ResultRow) for row in rows) else None

    queue, table, _ = walk(job(2), table=Table(refuse))
    assert queue.settled == [(0, Ack())]
    assert [(row.image_id, row.error) for row in table.of(DeadRow)] == [(2, "image 2 is gone")]


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


def test_nothing_more_is_taken_while_the_store_is_down():
    down = threading.Event()
    stop = threading.Event()
    queue = Queue(stop, job(1))

    def refuse(rows):
        return None if down.is_set() else StoreUnavailable("connection refused")

    queue.pause = lambda: (queue.calls.append("pause"), down.set())
    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=Analyze(service=LOADED, images=Photos(), caller=Detector(CAT)),
        write=Save(Table(refuse)),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    )
    runner.run()  # ends only if the pause came while the store was down
    assert queue.settled == [(0, Ack())]


FOLLOWER = Dispatch(job=Job(image=Image(image_id=1, path="x")), services=("consensus",))


@dataclass
class Step:
    """A recomputation that notes what it was told."""

    told: list = field(default_factory=list)
    stage: str = "consensus"
    identity: str = "v3"

    def __call__(self, snapshot, *, resumed):
        self.told.append((snapshot.image.image_id, resumed))
        return Outcome(followers=(FOLLOWER,))


def merging(publish=None, recompute=None):
    """Runs a merger over one job; gives what `resumed` was at each step, the queue and what was sent."""
    stop, step = threading.Event(), Step()
    queue, outbox, table = Queue(stop, job(1)), Outbox(), Table()
    outbox.publish = publish(outbox.publish) if publish else outbox.publish
    table.recompute = recompute(table.recompute) if recompute else table.recompute
    Runner(
        consumer=queue,
        publisher=outbox,
        handler=Passing(),
        write=Recompute(table, step),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    ).run()
    return [resumed for _, resumed in step.told], queue, outbox


def failing_once(error, after=lambda act, *args: None):
    """An action that fails the first time, once `after` has had its way."""
    answers = [error]

    def wrap(act):
        def acted(*args, **options):
            if answers:
                after(act, *args)
                raise answers.pop()
            return act(*args, **options)

        return acted

    return wrap


def test_what_was_written_is_not_written_again_because_the_broker_failed():
    resumptions, queue, outbox = merging(publish=failing_once(BrokerError("connection lost")))
    assert resumptions == [False]
    assert outbox.sent == [FOLLOWER]
    assert queue.settled == [(0, Ack())]


def test_what_may_have_been_written_before_the_store_failed_is_resumed():
    lost = failing_once(StoreUnavailable("lost after the commit"), lambda act, *args: act(*args))
    resumptions, queue, outbox = merging(recompute=lost)
    assert resumptions == [False, True]
    assert outbox.sent == [FOLLOWER]
    assert queue.settled == [(0, Ack())]


def test_a_job_that_waits_though_its_image_is_gone_costs_no_worker():
    def refuse(rows):
        return StoreError("the image is gone") if any(isinstance(row, DispatchRow) for row in rows) else None

    queue, table, _ = walk(
        job(), detector=Detector(ServiceBusy("500", service="yolov8")), table=Table(refuse)
    )
    assert queue.settled[0][1].attempt == 1
    assert table.batches == []


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


def test_a_setting_that_goes_wrong_while_the_store_is_down_ends_the_worker():
    answers = [StoreUnavailable("restarting"), ConfigError("DB_PASSWORD: changed meanwhile")]
    paused = threading.Event()
    stop = threading.Event()
    queue = Queue(stop, job())
    queue.pause = paused.set

    def refuse(rows):
        if len(answers) == 1:
            assert paused.wait(PATIENCE)  # the worker waits for the store by now
        return answers.pop(0)

    runner = Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=Analyze(service=LOADED, images=Photos(), caller=Detector(CAT)),
        write=Save(Table(refuse)),
        limits=Limits(concurrency=1, max_retries=3, grace=PATIENCE),
        stop=stop,
    )
    with pytest.raises(ConfigError, match="DB_PASSWORD"):
        runner.run()


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
    assert queue.settled[0][1].attempt == 1
    _, table, _ = walk(job(), detector=Detector(ZeroDivisionError("bug")), attempt=3)
    assert table.states == [(State.FAILED, "ZeroDivisionError")]
    assert table.of(DispatchRow)[0].error == "bug"


def test_five_jobs_for_one_image_recompute_it_once():
    table, step = Table(), Step()
    batch = [handled(1)] * 4 + [handled(1, redelivered=True), handled(2)]
    assert Recompute(table, step)(batch) == [Outcome(followers=(FOLLOWER,))] * 2
    assert table.recomputed == [[1, 2]]
    assert step.told == [(1, True), (2, False)]
    assert table.unless == Seen(image_ids=(2,), stage="consensus", rule="v3")  # 1 may lack what follows


def test_a_job_that_failed_is_not_recomputed():
    table = Table()
    dead = DeadRow(
        service="consensus", image_id=1, body=b"", attempts=1, error_class="StoreError", error="no"
    )
    failed = replace(handled(1), error=StoreError("no"), outcome=Outcome(rows=(dead,)))
    assert list(Recompute(table, None)([failed])) == []
    assert table.recomputed == []
    assert table.of(DeadRow) == [dead]


def test_middleware_hears_of_every_job():
    ear = Ear()
    walk(job(1), job(2), ear=ear)
    assert ear.heard == ["Ack", "Ack"]


def test_a_middleware_that_raises_has_nothing_done_twice():
    class Deaf(Ear):
        def settled(self, handled):
            raise OSError("too many open files")

    table = Table()
    with pytest.raises(OSError, match="too many open files"):
        walk(job(1), table=table, ear=Deaf())
    assert [row.state for row in table.of(DispatchRow)] == [State.DONE]


def test_a_worker_that_may_not_take_ends_and_says_why():
    class Forbidden(Queue):
        def take(self, limit, timeout):
            raise ConfigError("no permission")

    stop = threading.Event()
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match="no permission"):
        runner_of(Forbidden(stop), stop).run()
    until(lambda: set(threading.enumerate()) <= before, PATIENCE)


def test_what_was_refused_may_have_been_begun():
    """Its rows may be there and what follows not sent: whoever does it again must not leave that out."""
    stop = threading.Event()
    queue = Queue(stop, job())
    marks = []

    def write(batch):
        marks.extend(one.delivery.redelivered for one in batch)
        if len(marks) == 1:
            raise StoreError("a bad row")
        return [one.outcome for one in batch]

    runner_of(queue, stop, write=write).run()
    assert marks == [False, True]


def runner_of(queue, stop, write=None):
    detector = Detector(CAT)
    return Runner(
        consumer=queue,
        publisher=Outbox(),
        handler=Analyze(service=LOADED, images=Photos(), caller=detector),
        write=write or Save(Table()),
        limits=Limits(concurrency=2, max_retries=3, grace=PATIENCE),
        stop=stop,
    )
