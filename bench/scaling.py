"""Jobs per second of 1 to 32 worker processes on a service that takes 50 ms and no CPU, against the ideal.

    python -m bench.scaling [--rounds N] [--threads 1] [--workers 32] [--broker postgres] [--idle] [--json]

The service stands for GPUs elsewhere: it answers any number of requests at once, each after 50 ms, so that
ideal are workers × threads / 0.05 s. All workers consume before the first job is sent; the clock runs while
the share of jobs that are done goes from 0.2 to 0.8, so that neither the start counts nor the end, when some
have nothing left. CPU is that of all processes; memory is what the workers hold together (proportional set
size: what processes share counts once).

The parts that are called idle are what workers cost that have nothing to do: CPU milliseconds a second, all
of them together. `starting` is CPU seconds of one worker until it consumes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import psutil

from bench.ground import BROKERS, SERVICE, Ground, environment, ground
from bench.jobs import produce
from bench.rounds import Figures, arguments, interleaved, tell
from bench.watching import reached, running
from tests.servers.base import free_port
from windmill import wiring
from windmill.ports import Broker
from windmill.settings import Settings

WORKERS = (1, 2, 4, 8, 16, 32)
THREADS = (1, 4)
SERVICE_TIME = 0.05  # seconds
IDLE = 10.0  # seconds that idle workers are watched
COUNTED = (0.2, 0.8)  # of the jobs
CONNECTIONS = 400  # that the database allows: three for each worker, with BROKER=postgres


@dataclass(frozen=True, slots=True)
class Fleet:
    """Workers that all consume, and what it took to start them."""

    place: Ground
    settings: Settings
    publisher: Broker
    workers: Sequence[subprocess.Popen[bytes]]

    def used(self) -> dict[str, float]:
        """CPU seconds so far, of the workers together and of each server."""
        usage = self.place.usage({f"worker {n}": one.pid for n, one in enumerate(self.workers)})
        seconds = {name: family.seconds for name, family in usage.families.items()}
        ours = sum(seconds.pop(f"worker {n}") for n in range(len(self.workers)))
        return {"workers": ours, **seconds}

    def memory(self) -> float:
        """MB of all workers and their decoders."""
        roots = [psutil.Process(one.pid) for one in self.workers]
        family = [one for root in roots for one in (root, *root.children(recursive=True))]
        return sum(one.memory_full_info().pss for one in family) / 1e6


@contextmanager
def fleet(place: Ground, broker: str, workers: int, threads: int) -> Iterator[Fleet]:
    """So many workers on an empty queue, all of which consume."""
    catalog = place.folder / "scaling.json"
    entry = {"host": "127.0.0.1", "port": place.port, "category": "postprocessing"}  # nothing follows it
    catalog.write_text(json.dumps({SERVICE: entry}), "utf-8")
    settings = place.settings(broker, service_config=catalog, worker_concurrency=threads)
    command = [sys.executable, "-m", "windmill", "work", SERVICE]
    with (
        wiring.publisher(settings) as publisher,
        running([command] * workers, environment(settings)) as processes,
    ):
        made = Fleet(place, settings, publisher, processes)
        reached(lambda: publisher.queue_states([SERVICE])[SERVICE].consumers, workers, processes)
        yield made


def scaled(place: Ground, broker: str, shape: tuple[int, int], seconds: float) -> Figures:
    """What `shape`, worker processes and threads of each, get done in about `seconds` if all is ideal."""
    workers, threads = shape
    ideal = workers * threads / SERVICE_TIME
    jobs = round(ideal * seconds)
    with fleet(place, broker, workers, threads) as at:
        place.add_images(at.settings, jobs)
        with closing(place.postgres.connect(at.settings.db_name)) as connection:
            cursor = connection.cursor()

            def done() -> int:
                cursor.execute("SELECT count(*) FROM results")
                return int(cursor.fetchone()[0])

            with wiring.ledger(at.settings) as ledger:
                produce(ledger, at.publisher, (SERVICE,))
            first = reached(done, COUNTED[0] * jobs, at.workers)
            began, before = time.perf_counter(), at.used()
            last = reached(done, COUNTED[1] * jobs, at.workers)
            ended = time.perf_counter()
            cpu = {name: seconds - before[name] for name, seconds in at.used().items()}
            memory = at.memory()
            reached(done, jobs, at.workers)
    rate = (last - first) / (ended - began)
    each = {f"{name}, µs": 1e6 * used / (last - first) for name, used in cpu.items()}
    return {
        "jobs/s": rate,
        "of ideal": rate / ideal,
        "CPU a job, µs": sum(each.values()),
        **each,
        "MB in all": memory,
        "MB a worker": memory / workers,
    }


def idle(place: Ground, broker: str, workers: int) -> Figures:
    """What workers without a job cost."""
    with fleet(place, broker, workers, 1) as at:
        started = at.used()["workers"] / workers
        time.sleep(1)
        before = at.used()
        time.sleep(IDLE)
        cpu = {name: (used - before[name]) / IDLE for name, used in at.used().items()}
        memory = at.memory()
    shares = {f"{name}, ms a s": 1e3 * used for name, used in cpu.items() if name != "service"}
    return {
        **shares,
        "MB in all": memory,
        "MB a worker": memory / workers,
        "starting, s": started,
    }


def main() -> None:
    parser = arguments("scaling", __doc__, rounds=3)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of a part, ideally (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, action="append", help=f"default: {WORKERS}")
    parser.add_argument("--threads", type=int, action="append", help=f"of each (default: {THREADS})")
    parser.add_argument("--broker", choices=BROKERS, action="append", help="default: both")
    parser.add_argument("--idle", action="store_true", help="only the idle ones")
    args = parser.parse_args()
    brokers, counts = args.broker or BROKERS, args.workers or WORKERS
    with ground() as made, slow_service(made) as place:
        place.postgres.run(f"ALTER SYSTEM SET max_connections = {CONNECTIONS}")
        place.postgres.restart()
        busy = {
            f"{broker}, {workers} × {threads}": partial(
                scaled, place, broker, (workers, threads), args.seconds
            )
            for threads in args.threads or THREADS
            for broker in brokers
            for workers in counts
        }
        resting = {
            f"{broker}, {max(counts)} idle": partial(idle, place, broker, max(counts)) for broker in brokers
        }
        working = {} if args.idle else interleaved(busy, args.rounds)
        waiting = interleaved(resting, args.rounds)
    if args.json:
        tell({**working, **waiting}, as_json=True)
    else:
        if working:
            tell(working, as_json=False, title="processes × threads")
        tell(waiting, as_json=False, title="nothing to do")


@contextmanager
def slow_service(place: Ground) -> Iterator[Ground]:
    """The ground with a service that takes its time instead of the instant one."""
    port = free_port()
    command = [sys.executable, "-m", "bench.instant_service", str(port), "--seconds", str(SERVICE_TIME)]
    process = subprocess.Popen(command)
    try:
        yield replace(place, service=process, port=port)
    finally:
        process.terminate()
        process.wait(5)


if __name__ == "__main__":
    main()
