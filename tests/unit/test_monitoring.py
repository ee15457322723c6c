"""The report from heartbeats, and how it is shown."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from windmill.commands import monitor
from windmill.errors import BrokerError, ConfigError, StoreUnavailable
from windmill.model import Health, Heartbeat, Sighting
from windmill.monitoring import Windows, survey
from windmill.settings import Settings

WINDOWS = Windows(dead=300, performance=300, errors=3600)


def sighting(worker="blip@a:1", service="blip", node="a", status=Health.ALIVE, silent=3.0, **changes):
    heartbeat = Heartbeat(
        worker_id=worker,
        service_name=service,
        node_hostname=node,
        status=status,
        jobs_completed=10,
        jobs_per_minute=2.5,
        last_job_time=datetime(2026, 1, 1, tzinfo=UTC),
        queue_depth=0,
        error_message=None,
    )
    return Sighting(heartbeat=replace(heartbeat, **changes), silent_seconds=silent)


class Log:
    """A `ports.HeartbeatLog` of what the test says."""

    def __init__(self, *seen, completed=None, errors=()):
        self.seen, self.done, self.said = seen, completed or {}, errors

    def latest(self):
        return self.seen

    def completed(self, seconds):
        return self.done

    def errors(self, seconds):
        return self.said


def report(*seen, depths=lambda names: {}, **log):
    return survey(Log(*seen, **log), depths, WINDOWS)


def down(names):
    raise BrokerError("no connection to RabbitMQ at nowhere:5672")


def test_a_worker_is_dead_after_the_threshold_and_not_at_it():
    found = report(sighting("at", silent=300.0), sighting("after", silent=300.1))
    assert [one.heartbeat.worker_id for one in found.workers] == ["at"]
    assert [one.heartbeat.worker_id for one in found.dead] == ["after"]
    assert not found.well


def test_a_worker_that_said_goodbye_is_stopped_however_long_ago():
    found = report(sighting(status=Health.STOPPING, silent=9000), sighting("b", status=Health.STOPPING))
    assert (found.workers, found.dead, len(found.stopped)) == ((), (), 2)
    assert found.well


def test_a_worker_in_trouble_is_alive():
    assert len(report(sighting(status=Health.ERROR)).workers) == 1


def test_a_worker_that_died_days_ago_is_no_longer_news():
    assert report(sighting(silent=300 + 86_401)).dead == ()


def test_rates_divide_by_the_time_that_heartbeats_speak_of():
    found = report(sighting(), completed={"blip": (50, 60.0)})
    assert found.services[0].jobs_per_minute == 50


@pytest.mark.parametrize(("covered", "rate"), [(0.0, 600), (900.0, 2)])
def test_rates_never_divide_by_nothing_nor_by_more_than_the_window(covered, rate):
    assert report(sighting(), completed={"blip": (10, covered)}).services[0].jobs_per_minute == rate


def test_a_service_that_ended_within_the_window_is_shown_by_what_it_did_there():
    found = report(completed={"blip": (50, 60.0)})
    assert [(one.service, one.workers, one.jobs_per_minute) for one in found.services] == [("blip", 0, 10)]


def test_workers_are_counted_for_each_service_and_node():
    found = report(
        sighting("1"), sighting("2", node="b"), sighting("3", service="ocr"), sighting("4", silent=999)
    )
    assert {one.service: one.workers for one in found.services} == {"blip": 2, "ocr": 1}
    assert found.nodes == {"a": 2, "b": 1}


def test_a_service_whose_workers_are_all_dead_is_listed():
    assert [(one.service, one.workers) for one in report(sighting(silent=999)).services] == [("blip", 0)]


def test_queues_are_asked_for_every_service_seen_and_listed_when_jobs_wait():
    asked = []

    def depths(names):
        asked.extend(names)
        return {"blip": 3, "ocr": 5, "pose": 0}

    found = report(sighting(), depths=depths)
    assert asked == ["blip"]
    assert {one.service: one.queue_depth for one in found.services} == {"blip": 3, "ocr": 5}


def test_a_broker_that_cannot_be_asked_costs_the_depths_only():
    found = report(sighting(), depths=down)
    assert found.services[0].queue_depth is None
    assert "RabbitMQ" in found.depths_unknown


def test_recent_errors_are_not_well():
    found = report(sighting(), errors=[("blip@a:1", "blip", "torn.jpg", 2, 30.0)])
    assert [(one.message, one.count) for one in found.errors] == [("torn.jpg", 2)]
    assert not found.well


def test_an_empty_fleet_is_well():
    assert report().well


# --- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def settings():
    return Settings(
        enable_monitoring=True,
        monitoring_db_host="h",
        monitoring_db_name="n",
        monitoring_db_user="u",
        monitoring_db_password="p",
    )


def arguments(*words):
    parser = argparse.ArgumentParser()
    monitor.add_arguments(parser)
    return parser.parse_args(words)


@pytest.fixture
def run(monkeypatch, settings, capsys):
    """Runs the command on a log: exit status, standard output, standard error."""

    def run(log, *words, depths=lambda settings, names: {}):
        log.close = lambda: None
        monkeypatch.setattr(monitor.wiring, "heartbeat_log", lambda settings: log)
        monkeypatch.setattr(monitor.wiring, "queue_states", depths)
        status = monitor.run(arguments(*words), settings)
        return (status, *capsys.readouterr())

    return run


def shown(found):
    file = io.StringIO()
    Console(file=file, width=200, force_terminal=True, color_system=None).print(monitor._screen(found))
    return file.getvalue()


def test_monitoring_that_is_off_names_every_variable():
    with pytest.raises(ConfigError) as caught:
        monitor.run(arguments(), Settings())
    for name in ("ENABLE_MONITORING", *(f"MONITORING_DB_{end}" for end in ("HOST", "NAME", "USER"))):
        assert name in str(caught.value)


@pytest.mark.parametrize("words", [("--dead-threshold", "0"), ("--watch", "-1"), ("--errors-window", "nan")])
def test_a_number_that_makes_no_sense_is_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        arguments(*words)
    assert "more than 0" in capsys.readouterr().err


def test_no_heartbeat_at_all_is_a_line_of_advice(run):
    status, out, _ = run(Log())
    assert status == 0
    assert "workers.sh" in out


def test_json_is_one_line_with_everything(run):
    status, out, _ = run(Log(sighting(), sighting("dead", silent=999)), "--json")
    document = json.loads(out)
    assert (status, out.count("\n")) == (1, 1)
    assert document["dead"][0]["heartbeat"]["worker_id"] == "dead"
    assert document["workers"][0]["heartbeat"]["last_job_time"] == "2026-01-01T00:00:00+00:00"
    assert document["well"] is False


def test_heartbeats_that_cannot_be_read_are_not_a_dead_worker(run):
    class Broken(Log):
        def latest(self):
            raise StoreUnavailable("MySQL at h:3306 cannot be reached")

    status, _, err = run(Broken())
    assert (status, err) == (2, "windmill monitor: MySQL at h:3306 cannot be reached\n")


def test_watching_ends_with_ctrl_c_and_the_last_status(run, monkeypatch):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(monitor.time, "sleep", sleep)
    status, out, err = run(Log(sighting()), "--watch", "7", "--json")
    assert (status, err, naps) == (0, "", [7, 7, 7])
    assert [json.loads(line)["well"] for line in out.splitlines()] == [True, True, True]


def test_a_live_screen_survives_a_loss_of_the_heartbeats_and_ends_cleanly(monkeypatch):
    looks = iter([report(sighting()), StoreUnavailable("MySQL is gone"), report(sighting("other"))])
    naps = iter([None, None, KeyboardInterrupt()])

    def look():
        return raised(next(looks))

    def raised(value):
        if isinstance(value, BaseException):
            raise value
        return value

    monkeypatch.setattr(monitor.time, "sleep", lambda seconds: raised(next(naps)))
    file = io.StringIO()
    console = Console(file=file, width=120, height=40, force_terminal=True, color_system=None)
    assert monitor._watch(console, look, 5) == 0
    assert "not up to date: MySQL is gone" in file.getvalue()
    assert "other" in file.getvalue().rsplit("\x1b[?1049l", maxsplit=1)[1]  # on the screen that stays


def test_the_screen_shows_the_bad_news_first_and_why_depths_are_unknown():
    text = shown(
        report(
            sighting(),
            sighting("gone", silent=999),
            errors=[("blip@a:1", "blip", "torn.jpg", 2, 30.0)],
            depths=down,
        )
    )
    places = [text.index(words) for words in ("1 alive, 1 dead", "Dead workers", "Recent errors", "Services")]
    assert places == sorted(places)
    assert "queue depths are unknown: no connection to RabbitMQ" in text
    assert "?" in text


def test_what_workers_say_is_never_markup_nor_an_order_to_the_terminal():
    hostile = "[bold]x[/nope]\x1b[2J\x1b]0;title\x07\nnext \u202e line 👩\u200d🚀 " + "y" * 10_000
    text = shown(report(sighting("[red]w"), errors=[("[red]w", "blip", hostile, 1, 1.0)]))
    assert "[bold]x[/nope]" in text
    assert "[red]w" in text
    assert "👩\u200d🚀" in text
    assert not any(code in text for code in ("\x1b]", "\x1b[2J", "\x07", "\u202e"))
    assert text.count("y") < 1000
