"""Index workers as processes, with a real broker and PostgreSQL: what is done is in the index, once."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psycopg2
import pytest

from tests.killing import die_before_call
from tests.made_embedder import NAME, Embedder, embedding, photos, vector
from tests.waiting import until
from windmill import cli
from windmill.commands import work
from windmill.handlers.embed import Embed
from windmill.index.files import FaissFiles, open_index, verify
from windmill.postgres.broker import PostgresBroker
from windmill.postgres.consumer import PostgresConsumer
from windmill.postgres.store import PostgresStore
from windmill.progress import Mute
from windmill.rabbitmq.consuming import RabbitConsumer

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
WORKER = "index_labels"
CONSUMERS = {"rabbitmq": RabbitConsumer, "postgres": PostgresConsumer}

# Before which call of what a worker dies. By then each has done something, so that no job seems to kill them.
MOMENTS = [
    (Embed, "__call__", 9),  # with images at the service, and others gathered
    (FaissFiles, "upsert", 2),  # with all that a segment needs
    (Path, "replace", 4),  # a segment's files are there, under no name that counts
    (Path, "replace", 5),  # and one of them has its name
    (PostgresStore, "save", 2),  # a segment counts, and the ledger does not say so
    (None, "settle", 2),  # it does, and the broker has the jobs still
    (PostgresStore, "save", 4),
    (None, "settle", 3),
    (FaissFiles, "upsert", 3),
    (Embed, "__call__", 14),
]


def die(environment, owner, name, count):
    """Works, and is killed before the call number `count` of a function; in a process of its own."""
    die_before_call(owner or CONSUMERS[environment["BROKER"]], name, count)
    os.environ.update(environment)
    cli.main(["work", WORKER])


@pytest.fixture(scope="module")
def processes():
    """Children that need not import everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, work.__name__, PostgresBroker.__module__])
    return context


class Box:
    """A box: its settings, its folder, its commands."""

    def __init__(self, folder, environment):
        self.folder, self.prefix = folder, folder / "index" / "photos"
        self.environment = {
            **os.environ,
            "SERVICE_CONFIG": str(folder / "services.json"),
            "LOG_DIR": str(folder / "logs"),
            "INDEX_PREFIX": str(self.prefix),
            "WORKER_BATCH_SIZE": "4",
            "INDEX_SEGMENT_SIZE": "5",
            "INDEX_SEGMENT_SECONDS": "0.5",
            **environment,
        }

    @property
    def build(self):
        """The command that builds an index of its photos."""
        folder = str(self.folder / "photos")
        return ("index", "build", "--image-dir", folder, "--engine", "queue", "--service", NAME)

    def serves(self, port):
        entry = {NAME: {"host": "127.0.0.1", "port": port}}
        (self.folder / "services.json").write_text(json.dumps(entry), "utf-8")

    def run(self, *words, status=0):
        """Runs a command to its end; gives what it wrote to standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "windmill", *words], cwd=ROOT, env=self.environment,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    @contextmanager
    def working(self, **environment):
        """An index worker, which is told to stop at the end, unless it is dead by then."""
        log = self.folder / "worker.log"
        with log.open("a") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "windmill", "work", WORKER],
                cwd=ROOT, env={**self.environment, **environment}, stdout=file, stderr=file,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def segments(self):
        return len(list((self.prefix / "segments").glob("*.parquet")))

    def vectors(self):
        """Path → vector, as the index has them."""
        found = {}
        with closing(open_index(self.prefix)) as index:
            for part in index.scan():
                assert not found.keys() & set(part.paths)
                found |= dict(zip(part.paths, part.embeddings, strict=True))
        return found


@pytest.fixture(params=["rabbitmq", "postgres"])
def box(request, tmp_path, database):
    environment = {
        "DB_HOST": database.db_host,
        "DB_PORT": str(database.db_port),
        "DB_NAME": database.db_name,
        "DB_USER": database.db_user,
        "BROKER": request.param,
    }
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        vhost = request.getfixturevalue("rabbitmq_vhost")
        environment |= {"QUEUE_HOST": server.host, "QUEUE_PORT": str(server.port), "QUEUE_VHOST": vhost}
    return Box(tmp_path, environment)


@pytest.fixture
def states(box):
    """The ledger: state → number of images, and others by a statement."""
    connection = psycopg2.connect(
        host=box.environment["DB_HOST"], port=box.environment["DB_PORT"],
        dbname=box.environment["DB_NAME"], user=box.environment["DB_USER"],
    )  # fmt: skip
    connection.autocommit = True

    def fetch(statement="SELECT state, count(*) FROM dispatches GROUP BY state"):
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return dict(cursor.fetchall())

    with closing(connection):
        yield fetch


def agree(found, wanted):
    assert found.keys() == wanted.keys()
    for path, data in wanted.items():
        np.testing.assert_allclose(found[path], vector(data), atol=2e-6)


def test_killed_ten_times_a_worker_leaves_what_an_undisturbed_one_leaves(box, states, processes):
    wanted = photos(box.folder / "photos", 100)
    service = Embedder()
    with embedding(service) as port:
        box.serves(port)
        box.run("ingest", str(box.folder / "photos"), "--group", "g")
        produce = ("produce", "--services", WORKER, "--group", "g", "--json")
        assert f'"{WORKER}": 100' in box.run(*produce)
        for moment in MOMENTS if box.environment["BROKER"] == "rabbitmq" else MOMENTS[::2]:
            victim = processes.Process(target=die, args=(box.environment, *moment))
            victim.start()
            victim.join(PATIENCE)
            assert victim.exitcode == -signal.SIGKILL, moment
        assert states()["done"] < 100, "killed after all was done: nothing was shown"
        with box.working():
            until(lambda: states() == {"done": 100}, PATIENCE, log=box.folder / "worker.log")
        assert '"images": 0' in box.run(*produce)
    agree(box.vectors(), wanted)
    assert verify(box.prefix, Mute()) == []
    assert len(service.seen) > 100  # some had to be embedded again


def test_a_collection_is_built_over_the_queues(box, states):
    wanted = photos(box.folder / "photos", 40)
    (box.folder / "photos" / "torn.jpg").write_bytes(b"\xff\xd8\xff not an image")
    service = Embedder()
    blank = wanted[min(wanted)]
    service.empty.add(blank)
    build = (*box.build, "--json")
    with embedding(service) as port:
        box.serves(port)
        said = box.run(*build, "--workers", "2", status=1)
        assert "torn.jpg" in said
        found = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
        assert (found["added"], found["known"], found["without"], found["bad_count"]) == (39, 0, 1, 1)
        again = json.loads(box.run(*build, status=1).splitlines()[0])
        assert (again["added"], again["known"], again["without"]) == (0, 39, 1)
    assert len(service.seen) == 40
    agree(box.vectors(), {path: data for path, data in wanted.items() if data != blank})
    assert states() == {"done": 40}


@pytest.mark.parametrize("box", ["postgres"], indirect=True)
def test_workers_that_write_elsewhere_are_found_out(box):
    photos(box.folder / "photos", 10)
    with embedding(Embedder()) as port:
        box.serves(port)
        with box.working(INDEX_PREFIX=str(box.folder / "other" / "photos")):
            said = box.run(*box.build, status=2)
    assert "10 of 10 images" in said
    assert f"INDEX_PREFIX={box.prefix}" in said


@pytest.mark.parametrize("box", ["postgres"], indirect=True)
def test_another_model_parks_the_jobs_and_they_are_done_when_the_right_one_is_back(box, states):
    wanted = photos(box.folder / "photos", 12)
    box.environment["INDEX_SEGMENT_SECONDS"] = "0.05"
    box.serves(1)
    box.run("ingest", str(box.folder / "photos"), "--group", "g")
    first = Embedder()
    with embedding(first) as port:
        box.serves(port)
        box.run("produce", "--services", WORKER, "--limit", "4")
        with box.working():
            until(lambda: states().get("done") == 4, PATIENCE)
    with embedding(Embedder(version="2")) as port:
        box.serves(port)
        box.run("produce", "--services", WORKER)
        with box.working():
            reason = "SELECT error_class, max(last_error) FROM dispatches WHERE state = 'parked' GROUP BY 1"
            until(lambda: "ServiceChanged" in states(reason), PATIENCE, log=box.folder / "worker.log")
            assert "hash 1, 8 dimensions" in states(reason)["ServiceChanged"]
    with embedding(Embedder()) as port:
        box.serves(port)
        with box.working():
            until(lambda: states() == {"done": 12}, PATIENCE, log=box.folder / "worker.log")
    agree(box.vectors(), wanted)
    assert states("SELECT service, count(*) FROM dead_jobs GROUP BY 1") == {}


@pytest.mark.parametrize("box", ["postgres"], indirect=True)
def test_a_box_without_the_extra_is_told_what_to_install(box):
    box.serves(1)
    code = (
        "import sys; sys.modules['faiss'] = None; from windmill import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "work", WORKER],
        cwd=ROOT, env=box.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "faiss is missing: pip install 'windmill-images[index]'" in done.stderr
    assert "Traceback" not in done.stderr
