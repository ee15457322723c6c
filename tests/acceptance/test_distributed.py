"""The real thing: RabbitMQ, PostgreSQL, MariaDB, the scripts as a user calls them, real photos and models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import skimage

from tests.servers.base import free_port
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "camera.png", "rocket.jpg")
SERVICES = ("nanodet", "ssdlite", "centernet", "colors", "metadata", "face")
DETECTORS = ("nanodet", "ssdlite", "centernet")
PATIENCE = 300.0

SERVICE_COUNTS = """
SELECT service, COUNT(*) as total, COUNT(*) FILTER (WHERE status = 'success') as success_count,
       COUNT(*) FILTER (WHERE status = 'error') as error_count FROM results GROUP BY service ORDER BY service;
"""
SILENT = """
SELECT worker_id, service_name, node_hostname, MAX(timestamp) as last_seen,
       TIMESTAMPDIFF(MINUTE, MAX(timestamp), NOW()) as minutes_silent
FROM worker_heartbeats GROUP BY worker_id HAVING minutes_silent > 5;
"""


class Box:
    """One box: its settings, its catalog, and its scripts."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in SERVICES}
        catalog = {
            **{name: {"host": "127.0.0.1", "port": port} for name, port in self.ports.items()},
            "bbox_merger": {"triggers": ["consensus", "bbox_colors", "bbox_face"]},
            "consensus": {"host": "localhost", "port": 0, "category": "post_processing"},
            "bbox_colors": {"host": "127.0.0.1", "port": self.ports["colors"]},
            "bbox_face": {"host": "127.0.0.1", "port": self.ports["face"]},
        }
        (folder / "services.json").write_text(json.dumps(catalog), "utf-8")
        self.workers = set(catalog)
        self.environment = {
            **os.environ,
            "SERVICE_CONFIG": str(folder / "services.json"),
            "RUN_DIR": str(folder / "run"),
            "LOG_DIR": str(folder / "logs"),
            **environment,
        }

    def call(self, *command: str, status: int = 0) -> str:
        """Runs a script; gives what it wrote to standard output."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, (command, done.stdout, done.stderr)
        return done.stdout

    def python(self, *words: str, status: int = 0) -> str:
        return self.call(sys.executable, *words, status=status)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this box's settings."""
        return [p for p in psutil.process_iter() if self._mine(p)]

    def _mine(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("RUN_DIR") == str(self.folder / "run")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


@pytest.fixture(params=["rabbitmq", "postgres"])
def box(request, tmp_path, database, mariadb_server, mariadb_database):
    environment = {
        "DB_HOST": database.db_host,
        "DB_PORT": str(database.db_port),
        "DB_NAME": database.db_name,
        "DB_USER": database.db_user,
        "ENABLE_MONITORING": "true",
        "MONITORING_DB_HOST": mariadb_server.host,
        "MONITORING_DB_PORT": str(mariadb_server.port),
        "MONITORING_DB_NAME": mariadb_database,
        "MONITORING_DB_USER": mariadb_server.dbuser,
        "MONITORING_DB_PASSWORD": mariadb_server.password,
        "HEARTBEAT_INTERVAL": "1",
        "BROKER": request.param,
    }
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        vhost = request.getfixturevalue("rabbitmq_vhost")
        environment |= {"QUEUE_HOST": server.host, "QUEUE_PORT": str(server.port), "QUEUE_VHOST": vhost}
    made = Box(tmp_path, environment)
    with closing(mariadb_server.connect(mariadb_database)) as connection, connection.cursor() as cursor:
        cursor.execute((ROOT / "schema.mysql.sql").read_text("utf-8"))
    yield made
    for process in made.processes():
        process.kill()


@pytest.fixture
def serving(box):
    """The reference services, up."""
    log = box.folder / "serve.log"
    words = [f"{name}={port}" for name, port in box.ports.items()]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "windmill", "serve", *words],
            cwd=ROOT,
            env={**box.environment, "RUN_DIR": "elsewhere"},
            stdout=file,
            stderr=file,
        )
    try:
        until(lambda: log.read_text("utf-8").count("/v3/analyze") == len(SERVICES), PATIENCE,
              lambda: process.poll() is None, log)  # fmt: skip
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def rows(box):
    connection = psycopg2.connect(
        host=box.environment["DB_HOST"],
        port=box.environment["DB_PORT"],
        dbname=box.environment["DB_NAME"],
        user=box.environment["DB_USER"],
    )
    connection.autocommit = True

    def fetch(statement: str) -> list[tuple[object, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    with closing(connection):
        yield fetch


def quiet(box, rows):
    """Whether every dispatch is settled and no queue holds a job."""
    if rows("SELECT 1 FROM dispatches WHERE state = 'queued' LIMIT 1"):
        return False
    boxes, people = rows(
        "SELECT count(*), count(*) FILTER (WHERE merged_data ->> 'emoji' = '🧑') FROM merged_boxes"
    )[0]
    return rows("SELECT count(*) FROM postprocessing") == [(boxes + people,)] and boxes


def test_a_photo_folder_goes_through_the_whole_pipeline(box, serving, rows, mariadb_server, mariadb_database):
    photos = box.folder / "photos"
    photos.mkdir()
    for name in PHOTOS:
        shutil.copyfile(Path(skimage.__file__).parent / "data" / name, photos / name)
    shutil.copyfile(photos / "coffee.png", photos / "coffee-again.png")
    (photos / "torn.jpg").write_bytes((photos / "rocket.jpg").read_bytes() + b"and more")
    (photos / "notes.jpg").write_text("I am no image", "utf-8")

    admitted = json.loads(
        box.python("-m", "windmill", "ingest", str(photos), "--group", "demo", "--json", status=1)
    )
    assert admitted["added"] == len(PHOTOS) + 1
    assert len(admitted["duplicates"]) == 1
    assert ["notes.jpg" in line for line in admitted["bad"]] == [True]
    os.truncate(photos / "torn.jpg", 20_000)

    sent = json.loads(box.python("producer.py", "--services", "full_catalog", "--group", "demo", "--json"))
    assert sent == {"images": 7, "services": dict.fromkeys(SERVICES, 7)}

    box.call("./workers.sh", "start")
    until(lambda: quiet(box, rows), PATIENCE)

    expected = [(name, 7, 6, 1) for name in sorted(SERVICES)]  # the torn file fails everywhere, and is said
    assert rows(SERVICE_COUNTS) == expected
    assert rows("SELECT COUNT(*) FROM results WHERE service IN ('nanodet','ssdlite','centernet')") == [(21,)]
    assert rows("SELECT DISTINCT data -> 'error' ->> 'class' FROM results WHERE status = 'error'") == [
        ("ImageError",)
    ]
    assert rows("SELECT count(*) FROM consensus") == [(6,)]
    assert rows("SELECT DISTINCT state FROM dispatches ORDER BY state") == [("done",), ("failed",)]
    agreed = rows(
        "SELECT image_filename, merged_data ->> 'label', (merged_data ->> 'detection_count')::int "
        "FROM merged_boxes JOIN images USING (image_id)"
    )
    assert ("astronaut.png", "person", 3) in agreed
    assert any(name == "chelsea.png" and label == "cat" for name, label, _ in agreed)
    votes = dict(
        rows(
            "SELECT image_filename, consensus_data #>> '{votes,consensus,0,emoji}' "
            "FROM consensus JOIN images USING (image_id)"
        )
    )
    assert (votes["astronaut.png"], votes["motorcycle_left.png"]) == ("🧑", "🏍")
    assert rows("SELECT DISTINCT status FROM postprocessing") == [("success",)]
    assert {service for (service,) in rows("SELECT DISTINCT service FROM postprocessing")} == {
        "colors",
        "face",
    }
    assert rows("SELECT asked, done, failed, queued FROM service_progress WHERE service = 'face'") == [
        (7, 6, 1, 0)
    ]

    before = rows("SELECT count(*), max(result_created) FROM results")
    again = json.loads(box.python("producer.py", "--services", "full_catalog", "--group", "demo", "--json"))
    assert again == {"images": 0, "services": {}}
    assert rows("SELECT count(*), max(result_created) FROM results") == before

    report = json.loads(box.python("monitor_workers.py", "--json", status=1))  # 1: the torn file was an error
    assert {one["heartbeat"]["service_name"] for one in report["workers"]} == box.workers
    assert report["dead"] == []
    assert all(one["queue_depth"] == 0 for one in report["services"])
    assert any("torn.jpg" in one["message"] for one in report["errors"])
    with closing(mariadb_server.connect(mariadb_database)) as connection, connection.cursor() as cursor:
        cursor.execute(SILENT)
        assert cursor.fetchall() == []

    status = json.loads(box.call("./workers.sh", "status", "--json"))
    assert {one["worker"] for one in status} == box.workers
    victim = next(one for one in status if one["worker"] == "consensus")
    psutil.Process(victim["pid"]).kill()
    until(lambda: _pid(box, "consensus") not in (0, victim["pid"]), 100)

    box.call("./workers.sh", "stop")
    assert box.processes() == []
    with closing(mariadb_server.connect(mariadb_database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(DISTINCT worker_id) FROM worker_heartbeats WHERE status = 'stopping'")
        assert cursor.fetchall()[0][0] >= len(box.workers)


def _pid(box, worker):
    done = subprocess.run(
        ["./workers.sh", "status", "--json"], cwd=ROOT, env=box.environment, capture_output=True, check=False
    )
    return next(one["pid"] for one in json.loads(done.stdout) if one["worker"] == worker)


@pytest.mark.parametrize(
    ("command", "change", "said"),
    [
        (("producer.py",), {"DB_NAME": "nowhere"}, "DB_NAME"),
        (("producer.py",), {"DB_PORT": "1"}, "DB_PORT"),
        (("producer.py", "--services", "dog"), {}, "dog: no such service"),
        (("producer.py", "--group", "nope"), {}, "ingest"),
        (("workers/generic_worker.py",), {}, "SERVICE_NAME"),
        (("workers/generic_worker.py", "blip"), {}, "blip: no such service"),
        (("monitor_workers.py",), {"MONITORING_DB_PASSWORD": "wrong-secret"}, "MONITORING_DB_PASSWORD"),
        (("monitor_workers.py",), {"MONITORING_DB_NAME": ""}, "MONITORING_DB_NAME"),
    ],
)
def test_a_mistake_is_one_clear_line(box, command, change, said):
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**box.environment, **change},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    text = done.stdout + done.stderr
    assert said in text
    assert "Traceback" not in text
    assert "wrong-secret" not in text
    assert len(text.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    "script",
    [
        "producer.py",
        "monitor_workers.py",
        *sorted(f"workers/{p.name}" for p in (ROOT / "workers").glob("*.py")),
    ],
)
def test_every_script_has_help_worth_reading(script):
    done = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(done.stdout) > 400
