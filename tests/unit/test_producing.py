"""The producer: windows, order, pace, and what it says."""

import threading
from datetime import UTC, datetime

import pytest

from windmill import producing
from windmill.errors import BrokerError, StoreUnavailable
from windmill.model import Dispatch, Image, Job, LostDispatches, Missing, QueueState
from windmill.producing import Pace, Producer, Sent, counts, summary, unit_of

WANTED = Missing(services=("yolov8", "blip"))


def dispatch(image_id, *services):
    return Dispatch(job=Job(image=Image(image_id=image_id, path="x")), services=services)


class Ledger:
    """A ledger with the dispatches that it is given; what it does stands in `events`."""

    def __init__(self, events, *dispatches):
        self.events = events
        self.dispatches = dispatches

    def send(self, selection, send, *, after, limit):
        window = [one for one in self.dispatches if one.job.image.image_id > after][:limit]
        if window:
            send(window)
            self.events.append(("recorded", [one.job.image.image_id for one in window]))
        return window, window[-1].job.image.image_id if window else after


class Broker:
    """A broker that fails with each of `errors`, and whose queues have `depths`, one after another."""

    def __init__(self, events, errors=(), depths=(0,)):
        self.events = events
        self.errors = list(errors)
        self.depths = list(depths)

    def publish(self, dispatches, *, doubtful, stop):
        if self.errors:
            raise self.errors.pop(0)
        self.events.append(("published", [one.job.image.image_id for one in dispatches]))
        self.doubtful = doubtful

    def queue_states(self, services):
        depth = self.depths.pop(0) if len(self.depths) > 1 else self.depths[0]
        return {name: QueueState(waiting=depth) for name in services}


class Meter:
    def __init__(self):
        self.done = []

    def update(self, done, total=None):
        self.done.append(done)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(producing, "backoff", lambda *_, **__: 0.0)
    monkeypatch.setattr(producing, "_LOOK", 0.0)


def run(*dispatches, selection=WANTED, stop=None, errors=(), depths=(0,), max_queue_depth=100_000, **pace):
    events, meter = [], Meter()
    producer = Producer(
        selection,
        Ledger(events, *dispatches),
        Broker(events, errors, depths),
        Pace(max_queue_depth=max_queue_depth, **pace),
        stop or threading.Event(),
    )
    return producer.run(meter), events, meter


def published(events):
    return [ids for kind, ids in events if kind == "published"]


def test_a_window_is_published_before_it_is_noted():
    sent, events, _ = run(dispatch(1, "yolov8", "blip"), dispatch(2, "blip"))
    assert events == [("published", [1, 2]), ("recorded", [1, 2])]
    assert (sent.dispatches, sent.services) == (2, {"yolov8": 1, "blip": 2})


def test_many_images_go_in_windows():
    sent, events, meter = run(*(dispatch(n, "blip") for n in range(1, 1251)))
    assert [len(ids) for ids in published(events)] == [500, 500, 250]
    assert meter.done == [500, 1000, 1250]
    assert sent.dispatches == 1250


@pytest.mark.parametrize(
    ("selection", "unit", "number"),
    [
        (WANTED, "images", 2),
        (LostDispatches(services=("yolov8", "blip"), before=datetime(2026, 1, 1, tzinfo=UTC)), "jobs", 3),
    ],
)
def test_a_meter_and_what_is_said_count_the_same(selection, unit, number):
    sent, _, meter = run(dispatch(1, "yolov8", "blip"), dispatch(2, "blip"), selection=selection)
    assert (unit_of(selection), meter.done) == (unit, [number])
    assert counts(sent, unit) == f"{number} {unit}: blip 2, yolov8 1"


def test_no_more_than_the_limit_is_sent():
    sent, events, _ = run(*(dispatch(n, "blip") for n in range(1, 1251)), limit=650)
    assert [len(ids) for ids in published(events)] == [500, 150]
    assert sent.dispatches == 650


@pytest.mark.parametrize("error", [BrokerError("away"), StoreUnavailable("away")])
def test_a_broker_or_a_database_that_comes_back_costs_nothing(error):
    sent, events, _ = run(dispatch(1, "blip"), errors=[error] * 3)
    assert sent.dispatches == 1
    assert ("recorded", [1]) in events


def test_a_broker_that_stays_away_is_an_error_and_nothing_is_noted():
    with pytest.raises(BrokerError, match="away"):
        run(dispatch(1, "blip"), errors=[BrokerError("away")] * 99)


def test_stopping_ends_after_the_window_in_hand():
    stop = threading.Event()
    events, meter = [], Meter()
    meter.update = lambda done, total=None: stop.set()
    many = [dispatch(n, "blip") for n in range(1, 1251)]
    producer = Producer(WANTED, Ledger(events, *many), Broker(events), Pace(max_queue_depth=1000), stop)
    assert producer.run(meter).dispatches == 500
    assert events[-1] == ("recorded", list(range(1, 501)))


def test_a_delay_sends_one_by_one():
    _, events, _ = run(dispatch(1, "blip"), dispatch(2, "blip"), delay=0.001)
    assert published(events) == [[1], [2]]


def test_it_holds_while_a_queue_is_full_and_goes_on_with_the_room_that_there_is():
    sent, events, _ = run(
        *(dispatch(n, "blip") for n in range(1, 31)), depths=[50, 50, 45, 50, 20], max_queue_depth=50
    )
    assert [len(ids) for ids in published(events)] == [5, 25]
    assert sent.dispatches == 30


def test_holding_ends_when_it_is_stopped():
    stop = threading.Event()
    stop.set()
    sent, events, _ = run(dispatch(1, "blip"), stop=stop, depths=[50], max_queue_depth=50)
    assert (sent.dispatches, events) == (0, [])


def test_the_summary_says_what_was_sent_or_why_nothing_was():
    sent, _, _ = run(dispatch(1, "yolov8", "blip"))
    assert summary(sent, WANTED, {"demo": 1}) == "sent 1 images: blip 1, yolov8 1"
    nothing = Sent()
    assert "windmill ingest" in summary(nothing, WANTED, {})
    assert "all 5 images have" in summary(nothing, WANTED, {"a": 2, "b": 3})
    assert "--no-resume" in summary(nothing, Missing(services=("blip",), group="a"), {"a": 2, "b": 3})
    assert counts(nothing) == "nothing"
