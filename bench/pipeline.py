"""Jobs and fan-out through real servers: `python -m bench.pipeline [--rounds N] [--jobs N] [--json]`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pika
import psutil
from PIL import Image as Pictures
from rich.console import Console
from rich.table import Table

from bench.instant_service import BODY
from tests.servers import Postgres, RabbitMQ
from tests.servers.base import free_port
from tests.waiting import until
from windmill import catalog, wiring
from windmill.core import wire
from windmill.model import Dispatch, DispatchRow, Image, Job, Missing, Outcome, ResultRow, State, Status
from windmill.ports import Broker, Ledger
from windmill.postgres import schema
from windmill.postgres.store import PostgresStore
from windmill.producing import Pace, Producer
from windmill.service_http import HttpService
from windmill.settings import Settings

THREADS = 8
QUEUES = tuple(f"bench{n}" for n in range(11))
BROKERS = ("rabbitmq", "postgres")


@dataclass(frozen=True, slots=True)
class Bench:
    """The servers, a photo of about 100 kB, and the port of the instant service."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    folder: Path
    photo: Path
    port: int

    def settings(self, broker: str) -> Settings:
        """A fresh database, and the queues of `broker`."""
        made = Settings(
            broker=broker,
            queue_host=self.rabbitmq.host,
            queue_port=self.rabbitmq.port,
            db_host=self.postgres.host,
            db_port=self.postgres.port,
            db_name=self.postgres.new_database(),
            db_user=self.postgres.dbuser,
            worker_concurrency=THREADS,
            service_config=self.folder / "services.json",
        )
        schema.apply(made)
        return made

    def add_images(self, settings: Settings, count: int) -> None:
        self.postgres.run(
            "INSERT INTO images (image_filename, image_path) "  # noqa: S608 -- our own numbers
            f"SELECT n, '{self.photo}' FROM generate_series(1, {count}) AS n",
            settings.db_name,
        )


class Nothing:
    """A meter that says nothing."""

    def update(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def running() -> Iterator[Bench]:
    """Servers that wait for the disk, and the instant service."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photo, port = folder / "photo.jpg", free_port()
        Pictures.effect_noise((420, 420), 60).convert("RGB").save(photo, quality=90)
        entry = {"yolov8": {"host": "127.0.0.1", "port": port, "triggers": []}}
        entry |= {name: {"port": 1, "triggers": []} for name in QUEUES}
        (folder / "services.json").write_text(json.dumps(entry), "utf-8")
        postgres, rabbitmq = Postgres(durable=True), RabbitMQ()
        service = subprocess.Popen([sys.executable, "-m", "bench.instant_service", str(port)])
        try:
            postgres.start()
            rabbitmq.start()
            yield Bench(postgres, rabbitmq, folder, photo, port)
        finally:
            service.terminate()
            service.wait(5)
            rabbitmq.remove()
            postgres.remove()


def worker(bench: Bench, broker: str, jobs: int) -> dict[str, float]:
    """Windmill's own worker on `jobs` jobs that wait in its queue: from its first row to its last."""
    settings = bench.settings(broker)
    bench.add_images(settings, jobs)
    with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
        _send(ledger, publisher, ("yolov8",))
    environment = {
        **os.environ,
        "BROKER": broker,
        "QUEUE_HOST": settings.queue_host,
        "QUEUE_PORT": str(settings.queue_port),
        "DB_HOST": settings.db_host,
        "DB_PORT": str(settings.db_port),
        "DB_NAME": settings.db_name,
        "DB_USER": settings.db_user,
        "SERVICE_CONFIG": str(settings.service_config),
        "WORKER_CONCURRENCY": str(THREADS),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "windmill", "work", "yolov8"], env=environment, stderr=subprocess.DEVNULL
    )
    with closing(bench.postgres.connect(settings.db_name)) as connection, connection.cursor() as cursor:

        def done() -> int:
            cursor.execute("SELECT count(*) FROM results")
            return int(cursor.fetchone()[0])

        until(lambda: done() > 0, 60, lambda: process.poll() is None)
        ours = psutil.Process(process.pid)
        began, first, cpu = time.perf_counter(), done(), _cpu(ours)
        until(lambda: done() == jobs, 300, lambda: process.poll() is None)
        seconds, used = time.perf_counter() - began, _cpu(ours) - cpu
        memory = ours.memory_info().rss / 1e6
    process.terminate()
    process.wait(30)
    return {"jobs/s": (jobs - first) / seconds, "µs CPU/job": 1e6 * used / (jobs - first), "MB": memory}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def client_alone(bench: Bench, jobs: int) -> dict[str, float]:
    """The limit above: the same POSTs with the same client and threads, and nothing else."""
    entry = catalog.Service(name="yolov8", host="127.0.0.1", port=bench.port)
    service, photo = HttpService(entry, timeout=10, concurrency=THREADS), bench.photo
    return _timed(lambda: _all(lambda: service.analyze(photo.read_bytes()), jobs), jobs)


def _all(call: Callable[[], object], jobs: int) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(call) for _ in range(jobs)]:
            future.result()


def rows_alone(bench: Bench, jobs: int) -> dict[str, float]:
    """The limit below: the same rows in batches of 100, and nothing else."""
    settings = bench.settings("postgres")
    bench.add_images(settings, jobs)
    with closing(PostgresStore(settings, "bench")) as store:
        outcomes = [_outcome(n) for n in range(1, jobs + 1)]
        return _timed(lambda: [store.save(outcomes[n : n + 100]) for n in range(0, jobs, 100)], jobs)


def _outcome(image_id: int) -> Outcome:
    row = ResultRow(
        image_id=image_id,
        service="yolov8",
        status=Status.SUCCESS,
        data=BODY.decode(),
        service_types=("spatial",),
        bbox_format="xywh",
        vocabulary="coco",
    )
    settled = DispatchRow(image_id=image_id, service="yolov8", version="", state=State.DONE, found=1)
    return Outcome(rows=(row, settled))


def _timed(work: Callable[[], object], jobs: int) -> dict[str, float]:
    own = psutil.Process()
    began, cpu = time.perf_counter(), _cpu(own)
    work()
    seconds = time.perf_counter() - began
    return {"jobs/s": jobs / seconds, "µs CPU/job": 1e6 * (_cpu(own) - cpu) / jobs}


def _send(ledger: Ledger, broker: Broker, services: tuple[str, ...]) -> None:
    pace = Pace(max_queue_depth=10**9)
    Producer(Missing(services=services), ledger, broker, pace, threading.Event()).run(Nothing())


def fan_out(bench: Bench, broker: str, images: int) -> dict[str, float]:
    """The producer, from the table of images onto 11 queues, with the ledger kept."""
    settings = bench.settings(broker)
    bench.add_images(settings, images)
    with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
        first = Dispatch(job=Job(image=Image(image_id=0, path="x")), services=QUEUES)
        publisher.publish([first])  # the queues are there before the clock runs
        began = time.perf_counter()
        _send(ledger, publisher, QUEUES)
        return {"images/s": images / (time.perf_counter() - began)}


def one_by_one(bench: Bench, images: int) -> dict[str, float]:
    """What it is compared with: a confirmed publish for each queue, and no ledger."""
    with closing(bench.rabbitmq.connect()) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for name in QUEUES:
            channel.queue_declare(f"naive_{name}", durable=True, arguments={"x-queue-type": "quorum"})
        body = wire.encode(Job(image=Image(image_id=1, path=str(bench.photo))))
        persistent = pika.BasicProperties(delivery_mode=2)
        began = time.perf_counter()
        for _ in range(images):
            for name in QUEUES:
                channel.basic_publish("", f"naive_{name}", body, persistent, mandatory=True)
        return {"images/s": images / (time.perf_counter() - began)}


def measure(bench: Bench, rounds: int, jobs: int) -> dict[str, dict[str, list[float]]]:
    """All parts, interleaved, `rounds` times."""
    parts: dict[str, Callable[[], dict[str, float]]] = {
        **{f"worker, {broker}": lambda broker=broker: worker(bench, broker, jobs) for broker in BROKERS},
        "HTTP client alone": lambda: client_alone(bench, jobs),
        "rows alone, batches of 100": lambda: rows_alone(bench, jobs),
        **{
            f"producer onto 11, {broker}": lambda broker=broker: fan_out(bench, broker, jobs)
            for broker in BROKERS
        },
        "11 confirmed publishes": lambda: one_by_one(bench, max(20, jobs // 30)),
    }
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in parts}
    for number in range(rounds):
        for name, part in parts.items():
            for unit, value in part().items():
                seen[name].setdefault(unit, []).append(value)
        sys.stderr.write(f"round {number + 1} of {rounds}\n")
    return seen


def show(seen: dict[str, dict[str, list[float]]]) -> Table:
    """Medians, with the least and the most of all rounds."""
    units = list(dict.fromkeys(unit for part in seen.values() for unit in part))
    table = Table("", *units)
    for name, part in seen.items():
        cells = [
            f"{statistics.median(part[u]):,.0f} ({min(part[u]):,.0f}–{max(part[u]):,.0f})"
            if u in part
            else ""
            for u in units
        ]
        table.add_row(name, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=3000, help="jobs and images of one part of a round")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    args = parser.parse_args()
    with running() as bench:
        seen = measure(bench, args.rounds, args.jobs)
    if args.json:
        sys.stdout.write(json.dumps(seen, ensure_ascii=False, indent=1) + "\n")
    else:
        Console(width=120).print(show(seen))


if __name__ == "__main__":
    main()
