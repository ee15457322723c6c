"""What a worker tells of itself, by a clock of the test's own, and when it tells it."""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from windmill import heartbeats
from windmill.errors import BrokerError, ConfigError, ImageError, StoreUnavailable
from windmill.heartbeats import Heart, Pulse
from windmill.model import Ack, Again, Bury, Delivery, Handled, Health, Outcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATIENCE = 60.0


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def handled(decision=None, error=None):
    return Handled(
        delivery=Delivery(service="blip", body=b"", attempt=0, token=None),
        job=None,
        outcome=Outcome(),
        decision=decision or Ack(),
        error=error,
    )


def failed(text="torn.jpg: not an image"):
    return handled(Bury(error="ImageError", reason=text), ImageError(text))


def beat(pulse, health=Health.ALIVE):
    return pulse.beat("blip@a:1", "blip", "a", health, 7)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pulse(clock):
    return Pulse(clock, lambda: NOON)


# --- the pulse -------------------------------------------------------------------------------------------


def test_a_young_process_divides_by_its_own_age(pulse, clock):
    for _ in range(30):
        clock.seconds += 1
        pulse.settled(handled())
    assert pulse.rate() == pytest.approx(60)


def test_an_old_process_counts_the_window_and_not_its_lifetime(pulse, clock):
    for _ in range(1000):
        pulse.settled(handled())
    clock.seconds += 3600
    for _ in range(300):
        clock.seconds += 1
        pulse.settled(handled())
    assert pulse.rate() == pytest.approx(60, abs=0.5)
    assert beat(pulse).jobs_completed == 1300


def test_an_idle_process_comes_down_to_zero(pulse, clock):
    pulse.settled(handled())
    clock.seconds += heartbeats.WINDOW + 1
    assert pulse.rate() == 0


def test_a_process_of_no_age_has_a_rate_all_the_same(pulse):
    pulse.settled(handled())
    assert pulse.rate() == 60


def test_what_is_remembered_does_not_grow_with_the_jobs(pulse, clock):
    for _ in range(10 * int(heartbeats.WINDOW)):
        clock.seconds += 0.5
        for _ in range(3):
            pulse.settled(handled())
    assert len(pulse._recent) <= heartbeats.WINDOW + 1


def test_no_job_is_lost_between_threads(pulse):
    threads = [
        threading.Thread(target=lambda: [pulse.settled(handled()) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert beat(pulse).jobs_completed == 4000


def test_the_last_job_has_a_time(pulse):
    assert beat(pulse).last_job_time is None
    pulse.settled(handled())
    assert beat(pulse).last_job_time == NOON


def test_a_job_that_goes_round_again_is_neither_completed_nor_an_error(pulse):
    pulse.settled(handled(Again(delay=1, attempt=1), BrokerError("x")))
    assert (beat(pulse).jobs_completed, beat(pulse).status) == (0, Health.ALIVE)


def test_a_job_that_is_given_up_is_told_once_and_no_trouble_of_the_worker(pulse):
    pulse.settled(failed())
    told = beat(pulse)
    assert (told.status, told.error_message, told.jobs_completed) == (
        Health.ERROR,
        "torn.jpg: not an image",
        1,
    )
    pulse.told(told)
    assert (beat(pulse).status, beat(pulse).error_message) == (Health.ALIVE, None)


def test_an_error_that_is_over_before_the_next_heartbeat_is_told_once(pulse):
    pulse.settled(failed())
    pulse.settled(handled())
    told = beat(pulse)
    assert (told.status, told.error_message) == (Health.ERROR, "torn.jpg: not an image")
    pulse.told(told)
    assert beat(pulse).status is Health.ALIVE


def test_an_error_that_came_while_another_was_written_is_kept(pulse):
    pulse.settled(failed("one"))
    told = beat(pulse)
    pulse.settled(failed("two"))
    pulse.settled(handled())
    pulse.told(told)
    assert beat(pulse).error_message == "two"


def test_a_service_that_is_down_is_an_error_until_it_is_back(pulse):
    pulse.parked("blip refuses connections")
    assert beat(pulse).error_message == "blip refuses connections"
    assert pulse.changed.is_set()
    pulse.told(beat(pulse))
    pulse.resumed()
    assert beat(pulse).status is Health.ALIVE


@pytest.mark.parametrize("health", [Health.STARTING, Health.STOPPING])
def test_start_and_stop_stay_what_they_are(pulse, health):
    pulse.settled(failed())
    assert beat(pulse, health).status is health


# --- the heart -------------------------------------------------------------------------------------------


class Sink:
    """Keeps heartbeats; raises `error` instead while there is one."""

    def __init__(self):
        self.error = None
        self.beats = queue.Queue()
        self.tried = queue.Queue()

    def write(self, heartbeat):
        self.tried.put(heartbeat)
        if self.error:
            raise self.error
        self.beats.put(heartbeat)

    def next(self):
        return self.beats.get(timeout=PATIENCE)


def heart(pulse, sink, interval=60.0, depth=lambda: 7):
    made = Heart(pulse, sink, worker_id="blip@a:1", service="blip", node="a", interval=interval, depth=depth)
    made.start()
    return closing(made)


def test_it_beats_at_the_start_on_trouble_and_at_the_stop(pulse):
    sink = Sink()
    with heart(pulse, sink):
        first = sink.next()
        assert (first.status, first.worker_id, first.node_hostname, first.queue_depth) == (
            Health.STARTING,
            "blip@a:1",
            "a",
            7,
        )
        pulse.settled(failed())  # the interval is a minute: this comes at once
        assert sink.next().status is Health.ERROR
    assert sink.next().status is Health.STOPPING
    assert sink.beats.empty()


def test_it_beats_at_the_interval(pulse):
    sink = Sink()
    with heart(pulse, sink, interval=0.01):
        assert [sink.next().status for _ in range(3)] == [Health.STARTING, Health.ALIVE, Health.ALIVE]


def test_trouble_that_comes_and_goes_makes_no_flood_of_heartbeats(pulse):
    sink = Sink()
    with heart(pulse, sink):
        sink.next()
        pulse.settled(failed())
        sink.next()
        for _ in range(1000):
            pulse.settled(handled())
            pulse.settled(failed())
        assert sink.beats.empty()
    assert sink.next().status is Health.STOPPING


@pytest.mark.parametrize("error", [BrokerError("down"), ConfigError("no such vhost"), StoreUnavailable("x")])
def test_a_broker_that_cannot_be_asked_leaves_the_depth_unknown(pulse, error):
    def depth():
        raise error

    sink = Sink()
    with heart(pulse, sink, depth=depth):
        assert sink.next().queue_depth is None


@pytest.mark.parametrize("error", [StoreUnavailable("MySQL is gone"), ConfigError("wrong password")])
def test_a_sink_that_is_down_is_said_once_and_so_is_its_return(pulse, caplog, error):
    caplog.set_level(logging.INFO)
    sink = Sink()
    sink.error = error
    with heart(pulse, sink, interval=0.01):
        for _ in range(3):
            sink.tried.get(timeout=PATIENCE)
        pulse.settled(failed())
        for _ in range(2):
            sink.tried.get(timeout=PATIENCE)
        sink.error = None
        first = sink.next()
        sink.next()
    assert first.error_message == "torn.jpg: not an image"  # what happened meanwhile is not lost
    lines = [(record.levelname, record.exc_info) for record in caplog.records]
    assert lines == [("WARNING", None), ("INFO", None)]
    assert str(error) in caplog.records[0].message


def test_a_sink_that_hangs_holds_up_neither_jobs_nor_the_end(pulse, monkeypatch):
    monkeypatch.setattr(heartbeats, "_GOODBYE", 0.05)
    entered, free = threading.Event(), threading.Event()

    class Hanging:
        def write(self, heartbeat):
            entered.set()
            free.wait(PATIENCE)

    made = Heart(pulse, Hanging(), worker_id="w", service="s", node="n", interval=60, depth=lambda: 0)
    made.start()
    assert entered.wait(PATIENCE)
    pulse.settled(failed())
    pulse.settled(handled())
    made.close()
    assert made._thread.is_alive()
    assert made._thread.daemon
    free.set()
    made._thread.join(PATIENCE)
