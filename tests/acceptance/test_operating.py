"""What an operator does when something went wrong, with the commands as subprocesses and both brokers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.test_store import add_images
from tests.waiting import until

ROOT = Path(__file__).parents[2]
CATALOG = {
    "yolov8": {"host": "127.0.0.1", "port": 1},
    "blip": {"host": "127.0.0.1", "port": 1},
    "bbox_merger": {},
    "consensus": {},
}


class Box:
    """A machine of the fleet, with its settings."""

    def __init__(self, environment):
        self.environment = environment

    def start(self, *words):
        return subprocess.Popen(
            [sys.executable, "-m", "windmill", *words],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words, status=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == status, out + err
        assert "Traceback" not in out + err
        return out if out.strip() else err

    def json(self, *words, status=0):
        return json.loads(self.call(*words, "--json", status=status))


@pytest.fixture(params=["postgres", "rabbitmq"])
def box(request, database, tmp_path):
    catalog = tmp_path / "service_config.json"
    catalog.write_text(json.dumps(CATALOG))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DB_", "QUEUE_"))
    }
    environment |= {
        "BROKER": request.param,
        "DB_HOST": database.db_host,
        "DB_PORT": str(database.db_port),
        "DB_NAME": database.db_name,
        "DB_USER": database.db_user,
        "SERVICE_CONFIG": str(catalog),
        "ENABLE_MONITORING": "false",
        "COLUMNS": "200",
    }
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        vhost = request.getfixturevalue("rabbitmq_vhost")
        environment |= {"QUEUE_HOST": server.host, "QUEUE_PORT": str(server.port), "QUEUE_VHOST": vhost}
    return Box(environment)


@pytest.fixture
def rows(database, postgres_server):
    def fetch(statement):
        with closing(postgres_server.connect(database.db_name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return fetch


@pytest.fixture
def purge(box, rows, request):
    """Empties the queue of yolov8 behind everyone's back."""
    if box.environment["BROKER"] == "postgres":
        return lambda: rows("DELETE FROM jobs WHERE queue = 'queue_yolov8'")
    server = request.getfixturevalue("rabbitmq_server")

    def purge_queue():
        with closing(server.connect(box.environment["QUEUE_VHOST"])) as connection:
            connection.channel().queue_purge("queue_yolov8")

    return purge_queue


def fail_all(box, rows):
    """A worker meets images that are not there, and gives them up."""
    worker = box.start("work", "yolov8")
    try:
        until(lambda: rows("SELECT count(*) FROM dispatches WHERE state = 'failed'") == [(3,)], 100)
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_what_was_lost_is_found_and_what_failed_is_explained(box, database, rows, purge):
    first, second, third = add_images(database, 3)
    assert box.json("produce", "--services", "yolov8,blip") == {
        "images": 3,
        "services": {"blip": 3, "yolov8": 3},
    }
    story = box.call("why", "0.jpg", status=1)
    assert "3 jobs in queue_yolov8, no worker on it" in story

    assert box.json("reconcile", "--dry-run") == {"lost": {}, "sent": False}
    purge()
    for _ in range(2):
        assert box.json("reconcile", "--dry-run") == {"lost": {"yolov8": 3}, "sent": False}
    assert "sent again: yolov8 3" in box.call("reconcile")
    assert "nothing is lost" in box.call("reconcile")

    fail_all(box, rows)
    (group,) = box.json("dead", "ls")
    assert (group["service"], group["error_class"], group["count"]) == ("yolov8", "ImageError", 3)
    (shown,) = box.json("dead", "show", "--image", str(first))
    assert (shown["attempts"], shown["image"]) == (1, "/p/0.jpg")
    steps = {step["stage"]: step for step in box.json("why", str(first), status=1)["steps"]}
    assert steps["yolov8"]["state"] == "failed"
    assert "rerun --service yolov8 --failed" in steps["yolov8"]["waits"]
    assert steps["blip"]["state"] == "queued"

    assert "dropped 1 jobs" in box.call("dead", "drop", "--image", str(first))
    assert rows("SELECT state FROM dispatches WHERE service = 'yolov8' ORDER BY image_id")[0] == ("skipped",)
    assert box.json("dead", "replay", "--image", str(second)) == {"replayed": 1}
    assert "yolov8: 1 to send again" in box.call("rerun", "--service", "yolov8", "--failed", "--dry-run")
    assert box.json("rerun", "--service", "yolov8", "--failed") == {"sent": 1, "service": "yolov8"}
    assert "no job was given up" in box.call("dead", "ls")
    assert rows("SELECT image_id, state FROM dispatches WHERE service = 'yolov8' ORDER BY image_id") == [
        (first, "skipped"),
        (second, "queued"),
        (third, "queued"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("why", "nothing.jpg"), "no image has this number, path, address or file name"),
        (("rerun", "--service", "yolov8"), "which images?"),
        (("rerun", "--service", "yolov8", "--stale"), "--version TEXT"),
        (("rerun", "--service", "yolov8", "--group", "nope"), "there is no image group 'nope'"),
        (("rerun", "--service", "dog", "--failed"), "dog: no such service"),
        (("rerun", "--service", "yolov8", "--failed", "--version", "v1"), "goes with --stale"),
        (("dead", "drop"), "which jobs?"),
        (("dead", "replay", "99"), "no such dead job"),
        (("dead", "drop", "--all", "--limit", "3"), "--limit goes with show"),
    ],
)
def test_a_mistake_is_one_clear_line(box, database, words, said):
    if box.environment["BROKER"] == "rabbitmq":
        box.environment["QUEUE_PORT"] = "1"  # none of these gets as far as the broker
    add_images(database, 1)
    told = box.call(*words, status=2)
    assert said in told
    assert len(told.strip().splitlines()) == 1
