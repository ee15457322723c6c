"""workers.sh: counts, what dies comes back, and nobody else's process is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def call(tmp_path, database):
    (tmp_path / "services.json").write_text(json.dumps({"consensus": {}, "bbox_merger": {}}), "utf-8")
    environment = {
        **os.environ,
        "SERVICE_CONFIG": str(tmp_path / "services.json"),
        "RUN_DIR": str(tmp_path / "run"),
        "LOG_DIR": str(tmp_path / "logs"),
        "DB_HOST": database.db_host,
        "DB_PORT": str(database.db_port),
        "DB_NAME": database.db_name,
        "DB_USER": database.db_user,
        "DB_PASSWORD": "correct-horse",
        "BROKER": "postgres",
    }

    def run(*words, status=(0,)):
        done = subprocess.run(
            ["./workers.sh", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode in status, done.stdout + done.stderr
        return done.stdout

    yield run
    run("stop")


def status(call):
    return {
        f"{one['worker']}-{one['number']}": one["pid"]
        for one in json.loads(call("status", "--json", status=(0, 1)))
    }


def test_workers_are_counted_and_come_back_and_stop(call, tmp_path):
    assert "no workers are running" in call("status", status=(1,))
    call("start", "consensus", "2")
    before = status(call)
    assert set(before) == {"consensus-0", "consensus-1"}
    call("start", "bbox_merger")
    assert before.items() <= status(call).items()

    psutil.Process(before["consensus-1"]).kill()
    until(lambda: status(call)["consensus-1"] not in (0, before["consensus-1"]), 100)
    assert status(call)["consensus-0"] == before["consensus-0"]

    call("start", "consensus", "1")
    assert set(status(call)) == {"consensus-0", "bbox_merger-0"}
    running = [psutil.Process(pid) for pid in status(call).values()]
    call("stop")
    assert not any(process.is_running() for process in running)
    assert "no workers are running" in call("status", status=(1,))
    files = [path for folder in ("run", "logs") for path in (tmp_path / folder).iterdir() if path.is_file()]
    assert not any(b"correct-horse" in path.read_bytes() for path in files)


def test_a_process_that_it_did_not_start_is_left_alone(call):
    words = [sys.executable, "-c", "input()", str(ROOT / "workers" / "consensus_worker.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as stranger:
        call("start", "consensus")
        call("stop")
        assert stranger.poll() is None
        stranger.communicate(b"\n")


def test_a_worker_that_is_not_in_the_catalog_is_named(call):
    done = subprocess.run(
        ["./workers.sh", "start", "dog"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "dog: no such worker" in done.stderr
