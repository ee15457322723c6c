"""The producer: windows, order, and what it says."""

import threading
from datetime import UTC, datetime

import pytest

from windmill import producing
from windmill.errors import BrokerError
from windmill.model import Dispatch, Image, Job
from windmill.producing import Wanted, produce, summary

WANTED = Wanted(services=("yolov8", "blip"))


def dispatch(image_id, *services):
    return Dispatch(job=Job(image=Image(image_id=image_id, path="x")), services=services)


class Ledger:
    """A ledger that lacks what it is given, and notes in `events`."""

    def __init__(self, events, *missing):
        self.events = events
        self.lacking = missing

    def missing(self, services, *, group, limit, resume):
        return iter(self.lacking)

    def now(self):
        self.events.append("clock")
        return datetime(2026, 1, 1, tzinfo=UTC)

    def record(self, dispatches, *, sent):
        self.events.append(("recorded", [d.job.image.image_id for d in dispatches]))


class Publisher:
    """A broker that fails `failures` times."""

    def __init__(self, events, failures=0):
        self.events = events
        self.failures = failures

    def publish(self, dispatches):
        if self.failures:
            self.failures -= 1
            raise BrokerError("RabbitMQ is away")
        self.events.append(("published", [d.job.image.image_id for d in dispatches]))


class Meter:
    def __init__(self):
        self.done = []

    def update(self, done, total=None):
        self.done.append(done)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(producing, "backoff", lambda *_, **__: 0.0)


def run(*missing, wanted=WANTED, failures=0, stop=None):
    events, meter = [], Meter()
    sent = produce(
        wanted, Ledger(events, *missing), Publisher(events, failures), meter, stop or threading.Event()
    )
    return sent, events, meter


def test_a_window_is_published_before_it_is_noted():
    sent, events, _ = run(dispatch(1, "yolov8", "blip"), dispatch(2, "blip"))
    assert events == ["clock", ("published", [1, 2]), ("recorded", [1, 2])]
    assert (sent.images, sent.services) == (2, {"yolov8": 1, "blip": 2})


def test_many_images_go_in_windows():
    sent, events, meter = run(*(dispatch(n, "blip") for n in range(250)))
    assert [len(ids) for kind, ids in (e for e in events if e != "clock") if kind == "published"] == [
        100,
        100,
        50,
    ]
    assert meter.done == [100, 200, 250]
    assert sent.images == 250


def test_a_broker_that_comes_back_costs_nothing():
    sent, events, _ = run(dispatch(1, "blip"), failures=3)
    assert sent.images == 1
    assert ("recorded", [1]) in events


def test_a_broker_that_stays_away_is_an_error_and_nothing_is_noted():
    events = []
    with pytest.raises(BrokerError, match="away"):
        produce(
            WANTED, Ledger(events, dispatch(1, "blip")), Publisher(events, 99), Meter(), threading.Event()
        )
    assert events == ["clock"]


def test_stopping_ends_after_the_window_in_hand():
    stop = threading.Event()
    stop.set()
    sent, events, _ = run(*(dispatch(n, "blip") for n in range(250)), stop=stop)
    assert sent.images == 100
    assert events[-1] == ("recorded", list(range(100)))


def test_a_delay_sends_one_by_one():
    _, events, _ = run(
        dispatch(1, "blip"), dispatch(2, "blip"), wanted=Wanted(services=("blip",), delay=0.001)
    )
    assert ("published", [1]) in events
    assert ("published", [2]) in events


def test_the_summary_says_what_was_sent_or_why_nothing_was():
    sent, _, _ = run(dispatch(1, "yolov8", "blip"))
    assert summary(sent, WANTED, {"demo": 1}) == "sent 1 images: blip 1, yolov8 1"
    nothing, _, _ = run()
    assert "windmill ingest" in summary(nothing, WANTED, {})
    assert "all 5 images have" in summary(nothing, WANTED, {"a": 2, "b": 3})
    assert "--no-resume" in summary(nothing, Wanted(services=("blip",), group="a"), {"a": 2, "b": 3})
