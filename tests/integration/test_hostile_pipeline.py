"""Hostile and turned photos through ingest, services and workers: nothing dies, each file gets its answer."""

import json
import os
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import psutil
import psycopg2
import pytest
from PIL import Image as Pictures

from tests.servers.base import free_port
from tests.waiting import until
from windmill.checking.pictures import TURNED
from windmill.core.geometry import iou
from windmill.model import Box

ROOT = Path(__file__).parents[2]
SERVICES = ("nanodet", "ssdlite", "colors")
WORKERS = (*SERVICES, "bbox_merger", "bbox_colors", "consensus")
PATIENCE = 300.0


@pytest.fixture
def turned(tmp_path, shared_data):
    """A photo with something in it in the eight orientations; the shared ones show hills."""
    folder = tmp_path / "turned"
    folder.mkdir()
    with Pictures.open(shared_data / "coco-photos" / "000000019924.jpg") as photo:
        for orientation, turn in TURNED.items():
            exif = Pictures.Exif()
            exif[0x0112] = orientation
            stored = photo.transpose(turn) if turn is not None else photo
            stored.save(folder / f"turned{orientation}.png", exif=exif, compress_level=1)
    return folder


class Run:
    """One box: its settings, its services and workers, and its database."""

    def __init__(self, folder, database):
        ports = {name: free_port() for name in SERVICES}
        catalog = {name: {"host": "127.0.0.1", "port": port} for name, port in ports.items()}
        catalog |= {"bbox_merger": {"triggers": ["consensus", "bbox_colors"]}, "consensus": {}}
        catalog |= {"bbox_colors": {"host": "127.0.0.1", "port": ports["colors"]}}
        (folder / "services.json").write_text(json.dumps(catalog), "utf-8")
        self.folder = folder
        self.serving = [f"{name}={port}" for name, port in ports.items()]
        self.processes = {}
        self.environment = {
            **os.environ,
            "BROKER": "postgres",
            "DB_HOST": database.db_host,
            "DB_PORT": str(database.db_port),
            "DB_NAME": database.db_name,
            "DB_USER": database.db_user,
            "SERVICE_CONFIG": str(folder / "services.json"),
        }
        self.connection = psycopg2.connect(
            host=database.db_host, port=database.db_port, dbname=database.db_name, user=database.db_user
        )
        self.connection.autocommit = True

    def start(self, name, *words):
        with (self.folder / f"{name}.log").open("w") as file:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "windmill", *words],
                cwd=ROOT,
                env=self.environment,
                stdout=file,
                stderr=file,
            )

    def call(self, *words):
        done = subprocess.run(
            [sys.executable, "-m", "windmill", *words, "--json"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def rows(self, statement, *values):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def quiet(self):
        (open_jobs,) = self.rows(
            "SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM dispatches WHERE state = 'queued')"
        )[0]
        return open_jobs == 0

    def alive(self):
        return all(process.poll() is None for process in self.processes.values())

    def decoders(self):
        """The children of our workers."""
        return [child for one in self.processes.values() for child in psutil.Process(one.pid).children()]

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(60)


@pytest.fixture
def run(tmp_path, database):
    made = Run(tmp_path, database)
    with closing(made.connection):
        yield made
        made.stop()


def test_nothing_dies_of_hostile_files_and_all_orientations_give_the_same_boxes(run, shared_data, turned):
    hostile = sorted((shared_data / "hostile").iterdir())
    admitted = run.call("ingest", str(shared_data / "hostile"))
    assert admitted["added"] + len(admitted["bad"]) == len(hostile)
    assert all(line.startswith(f"{shared_data}/hostile/") for line in admitted["bad"])
    assert run.call("ingest", str(shared_data / "orientation"))["added"] == 8
    assert run.call("ingest", str(turned))["added"] == 8
    for path in hostile:  # as whoever writes to the table himself
        run.rows(
            "INSERT INTO images (image_filename, image_path) SELECT %s, %s WHERE NOT EXISTS "
            "(SELECT 1 FROM images WHERE image_path = %s) RETURNING 1",
            path.name,
            str(path),
            str(path),
        )
    images = len(hostile) + 16

    run.start("services", "serve", *run.serving)
    log = run.folder / "services.log"
    until(lambda: log.read_text("utf-8").count("/v3/analyze") == len(SERVICES), PATIENCE, run.alive, log)
    run.call("produce", "--services", ",".join(SERVICES))
    for name in WORKERS:
        run.start(name, "work", name)
    until(lambda: run.rows("SELECT 1 FROM results LIMIT 1"), PATIENCE, run.alive)
    for decoder in run.decoders():
        with suppress(psutil.NoSuchProcess):
            decoder.kill()  # as the kernel does when memory is short
    until(run.quiet, PATIENCE, run.alive)

    assert run.alive()
    assert len(run.rows("SELECT 1 FROM results")) == images * len(SERVICES)
    errors = run.rows(
        "SELECT image_path, data #>> '{error,class}', data #>> '{error,message}' "
        "FROM results JOIN images USING (image_id) WHERE status <> 'success'"
    )
    assert errors
    for path, kind, message in errors:
        assert path.startswith(f"{shared_data}/hostile/")
        assert kind in ("ImageError", "ImageTooLargeError"), message
        assert message.startswith(f"{path}: ")
        assert "decoder died" not in message
    assert run.rows("SELECT DISTINCT status FROM postprocessing") == [("success",)]
    same_boxes(run)


def same_boxes(run):
    """The turned photos' boxes are those of the upright one, but for what JPEG costs."""
    found = {}
    for name, label, box in run.rows(
        "SELECT image_filename, merged_data ->> 'label', merged_data -> 'bbox' "
        "FROM merged_boxes JOIN images USING (image_id) WHERE image_filename LIKE 'turned%%'"
    ):
        found.setdefault(name, []).append((label, Box(**box)))
    assert len(found) == 8
    upright = found["turned1.png"]
    for boxes in found.values():
        assert sorted(label for label, _ in boxes) == sorted(label for label, _ in upright)
        for label, box in boxes:
            assert max(iou(box, other) for kind, other in upright if kind == label) > 0.9
