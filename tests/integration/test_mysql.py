"""Heartbeats against a real MariaDB: what is written, what is read, and what happens when it is gone."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.servers.base import free_port
from tests.waiting import until
from windmill import mysql_heartbeats
from windmill.errors import ConfigError, StoreError, StoreUnavailable
from windmill.heartbeats import Heart, Pulse
from windmill.model import Health, Heartbeat
from windmill.mysql_heartbeats import MySQLHeartbeats
from windmill.settings import Settings

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
SILENT = """
SELECT worker_id, service_name, node_hostname, MAX(timestamp) as last_seen,
       TIMESTAMPDIFF(MINUTE, MAX(timestamp), NOW()) as minutes_silent
FROM worker_heartbeats GROUP BY worker_id HAVING minutes_silent > 5;
"""
BEAT = Heartbeat(
    worker_id="blip@a:1",
    service_name="blip",
    node_hostname="a",
    status=Health.ALIVE,
    jobs_completed=10,
    jobs_per_minute=2.5,
    last_job_time=datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC),
    queue_depth=3,
    error_message=None,
)


@pytest.fixture
def settings(mariadb_server, mariadb_database):
    return Settings(
        enable_monitoring=True,
        monitoring_db_host=mariadb_server.host,
        monitoring_db_port=mariadb_server.port,
        monitoring_db_name=mariadb_database,
        monitoring_db_user=mariadb_server.dbuser,
        monitoring_db_password=mariadb_server.password,
    )


@pytest.fixture
def rows(mariadb_server, mariadb_database):
    """Runs SQL in the database, which has the table; a connection for each, for the server comes and goes."""

    def run(statement, *values):
        with (
            closing(mariadb_server.connect(mariadb_database)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.with_rows else []

    run((ROOT / "schema.mysql.sql").read_text("utf-8"))
    return run


@pytest.fixture
def log(settings, rows):
    with closing(MySQLHeartbeats(settings)) as made:
        yield made


@pytest.fixture
def past(rows):
    """Writes a heartbeat of some seconds ago."""

    def write(seconds, **changes):
        beat = replace(BEAT, **changes)
        rows(
            "INSERT INTO worker_heartbeats (timestamp, worker_id, service_name, node_hostname, status, "
            "jobs_completed, error_message) VALUES (NOW(3) - INTERVAL %s SECOND, %s, %s, %s, %s, %s, %s)",
            seconds,
            beat.worker_id,
            beat.service_name,
            beat.node_hostname,
            beat.status.value,
            beat.jobs_completed,
            beat.error_message,
        )

    return write


# --- the table -------------------------------------------------------------------------------------------


def test_the_schema_is_safe_to_run_twice_and_loses_nothing(log, rows):
    log.write(BEAT)
    rows((ROOT / "schema.mysql.sql").read_text("utf-8"))
    assert rows("SELECT COUNT(*) FROM worker_heartbeats") == [(1,)]


def test_the_columns_of_the_data_sheet_are_there(rows):
    sheet = (
        "id timestamp worker_id service_name node_hostname status jobs_completed jobs_per_minute "
        "last_job_time queue_depth error_message"
    )
    assert [name for name, *_ in rows("SHOW COLUMNS FROM worker_heartbeats")] == sheet.split()


@pytest.mark.parametrize("zone", ["+00:00", "-11:30", "+13:00"])
def test_the_query_for_silent_workers_gives_the_right_minutes_in_every_time_zone(
    zone, log, past, rows, mariadb_server
):
    log.write(BEAT)
    past(20 * 60, worker_id="dead@b:2", service_name="ocr", node_hostname="b")
    past(10 * 60 + 30, worker_id="dead@b:2", service_name="ocr", node_hostname="b")
    past(4 * 60, worker_id="slow@b:3")
    try:
        mariadb_server.run(f"SET GLOBAL time_zone = '{zone}'")
        found = rows(SILENT)
        now = rows("SELECT NOW()")[0][0]
    finally:
        mariadb_server.run("SET GLOBAL time_zone = 'SYSTEM'")
    assert [(*row[:3], row[4]) for row in found] == [("dead@b:2", "ocr", "b", 10)]
    assert 600 < (now - found[0][3]).total_seconds() < 700


@pytest.mark.parametrize("query", [mysql_heartbeats._COMPLETED, mysql_heartbeats._ERRORS])
def test_the_monitor_reads_a_window_through_the_index(query, past, rows):
    for n in range(300):
        past(10_000 + n)
    plan = [row for row in rows(f"EXPLAIN {query}", 60) if "worker_heartbeats" in row]
    assert [row[5] for row in plan] == ["worker_heartbeats_time"]


def test_the_query_for_silent_workers_reads_nothing_but_an_index(rows, past):
    for n in range(300):
        past(n)
    plan = rows(f"EXPLAIN {SILENT}")
    assert (plan[0][5], "Using index" in plan[0][9]) == ("worker_heartbeats_worker", True)


def test_the_latest_of_each_worker_is_found_through_the_index(rows, log):
    for _ in range(300):
        log.write(BEAT)
    rows("ANALYZE TABLE worker_heartbeats")
    plan = rows(f"EXPLAIN {mysql_heartbeats._LATEST}", 7)
    assert any(row[5] == "worker_heartbeats_worker" and "for group-by" in str(row[9]) for row in plan), plan


def test_the_table_holds_a_week_whoever_wrote_it(log, past, rows):
    past(8 * 86_400, worker_id="long-gone@c:9")
    past(6 * 86_400, worker_id="gone@c:9")
    log.write(BEAT)
    assert rows("SELECT worker_id FROM worker_heartbeats ORDER BY id") == [("gone@c:9",), ("blip@a:1",)]


def test_old_rows_that_cannot_be_deleted_are_no_reason_not_to_beat(log, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(mysql_heartbeats, "_PRUNE", "DELETE FROM nowhere WHERE id = %s")
    log.write(BEAT)
    log.write(BEAT)
    assert len(log.latest()) == 1
    assert "not deleted" in caplog.text


@pytest.mark.parametrize("number", range(3))
def test_the_queries_of_the_manual_run(number, log, rows):
    log.write(replace(BEAT, error_message="torn.jpg"))
    manual = (ROOT / "docs/monitoring.md").read_text("utf-8")
    queries = manual.split("```sql\n")[1].split("```")[0].split(";")
    assert len(queries) == 4
    assert len(rows(queries[number].strip())) == (0, 1, 1)[number]


def test_everything_works_in_the_strict_modes_of_mysql_8(settings, rows, mariadb_server):
    modes = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO"
    usual = rows("SELECT @@GLOBAL.sql_mode")[0][0]
    mariadb_server.run(f"SET GLOBAL sql_mode = '{modes}'")
    try:
        with closing(MySQLHeartbeats(settings)) as log:
            log.write(replace(BEAT, error_message="torn.jpg"))
            log.write(replace(BEAT, jobs_completed=15))
            assert len(log.latest()) == 1
            assert log.completed(60)["blip"][0] == 5
            assert len(log.errors(60)) == 1
    finally:
        mariadb_server.run(f"SET GLOBAL sql_mode = '{usual}'")


# --- what the monitor reads ------------------------------------------------------------------------------


def test_what_is_written_is_read(log):
    log.write(replace(BEAT, status=Health.STARTING, last_job_time=None, queue_depth=None))
    log.write(BEAT)
    log.write(replace(BEAT, worker_id="ocr@b:2", service_name="ocr", error_message="torn"))
    found = log.latest()
    assert [one.heartbeat for one in found] == [
        BEAT,
        replace(BEAT, worker_id="ocr@b:2", service_name="ocr", error_message="torn"),
    ]
    assert all(0 <= one.silent_seconds < 60 for one in found)


def test_two_services_under_one_worker_id_are_two_workers(log):
    log.write(BEAT)
    log.write(replace(BEAT, service_name="ocr"))
    assert [one.heartbeat.service_name for one in log.latest()] == ["blip", "ocr"]


def test_a_worker_that_moved_to_another_node_is_one_worker(log, past):
    past(60, status=Health.STARTING)
    log.write(replace(BEAT, node_hostname="b"))
    assert [one.heartbeat.node_hostname for one in log.latest()] == ["b"]


def test_completed_jobs_are_steps_within_the_window_and_survive_a_restart(log, past):
    past(400, jobs_completed=5)
    for seconds, jobs in ((200, 100), (140, 160), (80, 200)):
        past(seconds, jobs_completed=jobs)
    past(50, jobs_completed=0, status=Health.STARTING)
    past(20, jobs_completed=30)
    past(140, worker_id="blip@b:2", jobs_completed=1000)
    past(20, worker_id="blip@b:2", jobs_completed=1007)
    past(100, worker_id="ocr@b:3", service_name="ocr", jobs_completed=50)
    found = log.completed(300)
    assert found["blip"] == (100 + 30 + 7, pytest.approx(180, abs=5))
    assert found["ocr"] == (0, 0.0)


def test_errors_are_counted_by_their_text_within_the_window(log, past):
    past(4000, error_message="long ago")
    past(100, error_message="torn.jpg")
    past(50, error_message="torn.jpg")
    past(10, error_message="refused")
    past(5)
    worker = ("blip@a:1", "blip")
    found = log.errors(3600)
    assert [row[:4] for row in found] == [(*worker, "refused", 1), (*worker, "torn.jpg", 2)]
    assert 50 <= found[1][4] < 80


@pytest.mark.parametrize(
    "text",
    [
        "it's \"quoted\" `so` \\' %s %(x)s; DROP TABLE worker_heartbeats; --",
        "👩\u200d🚀 größer 図",
        "nul \x00 and \x1b[2J",
        "",
    ],
)
def test_any_text_is_kept_as_it_is(text, log):
    log.write(replace(BEAT, error_message=text))
    assert log.latest()[0].heartbeat.error_message == (text or None)


def test_text_that_is_too_long_or_no_text_is_cut_to_what_fits(log):
    log.write(replace(BEAT, error_message="👩" * 10_000, node_hostname="n" * 999, service_name="s" * 999))
    kept = log.latest()[0].heartbeat
    assert (kept.error_message, len(kept.node_hostname), len(kept.service_name)) == ("👩" * 2000, 255, 100)
    log.write(replace(BEAT, error_message="caf\udce9.jpg"))
    assert log.latest()[0].heartbeat.error_message == "caf?.jpg"


def test_a_server_that_asks_for_a_file_gets_none(log, rows, tmp_path):
    secret = tmp_path / "id_rsa"
    secret.write_text("private", "utf-8")
    rows("CREATE TABLE loot (line TEXT)")
    with pytest.raises(StoreError), log._cursor(5) as cursor:
        cursor.execute("LOAD DATA LOCAL INFILE %s INTO TABLE loot", (str(secret),))
    assert rows("SELECT * FROM loot") == []


# --- when it is not there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"monitoring_db_password": "wrong-secret"}, "MONITORING_DB_PASSWORD"),
        ({"monitoring_db_user": "nobody-we-know"}, "MONITORING_DB_USER"),
        ({"monitoring_db_name": "nowhere"}, "MONITORING_DB_NAME"),
    ],
)
def test_what_will_not_pass_by_itself_names_the_setting(change, said, settings, rows):
    with closing(MySQLHeartbeats(replace(settings, **change))) as sink:
        with pytest.raises(ConfigError, match=said) as caught:
            sink.write(BEAT)
        with pytest.raises(ConfigError):
            sink.latest()
    assert "wrong-secret" not in str(caught.value)
    assert settings.monitoring_db_password not in str(caught.value)
    del caught
    gc.collect()  # a socket left open would be a ResourceWarning, and fail


def test_a_missing_table_names_its_schema(settings):
    with (
        closing(MySQLHeartbeats(settings)) as sink,
        pytest.raises(ConfigError, match=r"schema\.mysql\.sql"),
    ):
        sink.write(BEAT)


def test_a_user_who_may_not_write_is_told(settings, rows, mariadb_server, mariadb_database):
    mariadb_server.run("CREATE OR REPLACE USER reader@'127.0.0.1' IDENTIFIED BY 'r'")
    mariadb_server.run(f"GRANT SELECT ON {mariadb_database}.* TO reader@'127.0.0.1'")
    changed = replace(settings, monitoring_db_user="reader", monitoring_db_password="r")
    with closing(MySQLHeartbeats(changed)) as sink:
        with pytest.raises(ConfigError, match="INSERT command denied"):
            sink.write(BEAT)
        assert sink.latest() == []


def test_a_server_that_is_down_at_the_start_is_unavailable(settings):
    with closing(MySQLHeartbeats(replace(settings, monitoring_db_port=free_port()))) as sink:
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="MONITORING_DB_HOST"):
                sink.write(BEAT)
    gc.collect()


def test_a_server_that_was_killed_is_found_again(log, mariadb_server):
    log.write(BEAT)
    try:
        mariadb_server.kill()
        with pytest.raises(StoreUnavailable):
            log.write(BEAT)
        with pytest.raises(StoreUnavailable):
            log.write(BEAT)
    finally:
        mariadb_server.start()
    log.write(BEAT)
    assert len(log.latest()) == 1


def test_a_server_that_restarted_between_two_beats_costs_one(log, mariadb_server):
    log.write(BEAT)
    mariadb_server.restart()
    with pytest.raises(StoreUnavailable):
        log.write(BEAT)
    log.write(BEAT)


def test_a_server_that_accepts_and_says_nothing_is_given_up(settings, monkeypatch):
    monkeypatch.setattr(mysql_heartbeats, "_TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with (
            closing(MySQLHeartbeats(replace(settings, monitoring_db_port=port))) as sink,
            pytest.raises(StoreUnavailable),
        ):
            sink.write(BEAT)
    gc.collect()


@contextmanager
def frozen(server):
    """The server hangs: it accepts and never answers."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def test_a_server_that_hangs_in_the_middle_is_given_up_and_found_again(log, monkeypatch, mariadb_server):
    monkeypatch.setattr(mysql_heartbeats, "_TIMEOUT", 1)
    log.write(BEAT)
    with frozen(mariadb_server), pytest.raises(StoreUnavailable):
        log.write(BEAT)
    log.write(BEAT)


def test_a_worker_ends_in_time_though_the_server_hangs(settings, rows, mariadb_server, monkeypatch):
    monkeypatch.setattr(mysql_heartbeats, "_TIMEOUT", 30)
    pulse, sink = Pulse(), MySQLHeartbeats(settings)
    who = {"worker_id": "w", "service": "s", "node": "n"}
    heart = Heart(pulse, sink, interval=0.1, depth=lambda: 0, **who)
    heart.start()
    until(lambda: rows("SELECT 1 FROM worker_heartbeats WHERE status = 'alive' LIMIT 1"), PATIENCE)
    with frozen(mariadb_server):
        until(sink._lock.locked, PATIENCE)  # a beat hangs
        began = time.monotonic()
        heart.close()
        sink.close()
        assert time.monotonic() - began < 15
    heart._thread.join(PATIENCE)
    assert not heart._thread.is_alive()
    sink.close()
    gc.collect()


def test_a_closed_sink_connects_no_more(log):
    log.write(BEAT)
    log.close()
    log.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        log.write(BEAT)


def test_one_sink_serves_several_threads(log, rows):
    threads = [threading.Thread(target=lambda: [log.write(BEAT) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows("SELECT COUNT(*) FROM worker_heartbeats") == [(80,)]


# --- the script ------------------------------------------------------------------------------------------


def script(settings, *words, **environment):
    names = ("host", "port", "name", "user", "password")
    database = {f"MONITORING_DB_{n.upper()}": str(getattr(settings, f"monitoring_db_{n}")) for n in names}
    return subprocess.run(
        [sys.executable, "monitor_workers.py", *words],
        cwd=ROOT,
        env={
            **os.environ,
            "ENABLE_MONITORING": "true",
            "BROKER": "postgres",
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(free_port()),
            **database,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_script_tells_the_dead_from_the_living_without_a_broker(settings, log, past):
    log.write(replace(BEAT, error_message="[bold]torn.jpg"))
    past(600, worker_id="dead@b:2", service_name="ocr", node_hostname="b")
    done = script(settings, "--json", "--dead-threshold", "5")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["heartbeat"]["worker_id"] for one in document["dead"]] == ["dead@b:2"]
    assert [one["heartbeat"]["worker_id"] for one in document["workers"]] == ["blip@a:1"]
    assert "DB_PORT" in document["depths_unknown"]
    people = script(settings)
    assert people.returncode == 1
    assert "[bold]torn.jpg" in people.stdout
    assert "Traceback" not in people.stderr


def test_the_script_says_in_one_line_why_it_cannot_tell(settings, rows):
    for change, said in (
        ({"MONITORING_DB_PASSWORD": "wrong-secret"}, "MONITORING_DB_PASSWORD"),
        ({"MONITORING_DB_PORT": str(free_port())}, "MONITORING_DB_HOST"),
        ({"ENABLE_MONITORING": "false"}, "ENABLE_MONITORING=true"),
    ):
        done = script(settings, **change)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert said in done.stderr
        assert "wrong-secret" not in done.stderr
