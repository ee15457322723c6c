"""Jobs, each a POST of a photo of 100 kB to an instant service and one durable row: how many, at what cost?

Windmill's workers, with the ledger and all that they promise, on jobs that wait in a queue. CPU time is that
of all processes: workers with their decoders, RabbitMQ, PostgreSQL and the service.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial

from bench.ground import BROKERS, SERVICE, Ground, environment, ground
from bench.rounds import Figures, arguments, interleaved, tell
from bench.usage import Usage
from windmill import wiring
from windmill.model import Missing
from windmill.producing import Pace, Producer
from windmill.settings import Settings

SHAPES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 4))  # processes, threads of each
WARM = 0.1  # the share of the jobs that is done before the clock runs
LOOK = 0.05  # seconds between looks at how many are done
PATIENCE = 300.0  # seconds for one part


class Nothing:
    """A meter that says nothing."""

    def update(self, done: int, total: int | None = None) -> None: ...


def windmill(place: Ground, broker: str, processes: int, threads: int, jobs: int) -> Figures:
    """Windmill's own workers."""
    settings = place.settings(broker, worker_concurrency=threads)
    place.add_images(settings, jobs)
    with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
        asked = Missing(services=(SERVICE,))
        Producer(asked, ledger, publisher, Pace(max_queue_depth=10**9), threading.Event()).run(Nothing())
    command = [sys.executable, "-m", "windmill", "work", SERVICE]
    with running([command] * processes, environment(settings)) as workers:
        return watched(place, settings, workers, jobs)


@contextmanager
def running(
    commands: Sequence[Sequence[str]], variables: dict[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes, all ended at the end."""
    processes = [subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL) for command in commands]
    try:
        yield processes
    finally:
        for one in processes:
            one.terminate()
        for one in processes:
            one.wait(60)


def watched(
    place: Ground, settings: Settings, workers: Sequence[subprocess.Popen[bytes]], jobs: int
) -> Figures:
    """Jobs a second and their cost, from the first tenth of `jobs` rows in `results` to the last."""
    usage = partial(place.usage, {f"worker {n}": one.pid for n, one in enumerate(workers)})
    with closing(place.postgres.connect(settings.db_name)) as connection, connection.cursor() as cursor:

        def done() -> int:
            cursor.execute("SELECT count(*) FROM results")
            return int(cursor.fetchone()[0])

        first = reached(done, WARM * jobs, workers)
        began, before = time.perf_counter(), usage()
        last = reached(done, jobs, workers)
        seconds, after = time.perf_counter() - began, usage()
    return figures(after, after.since(before), seconds, last - first)


def reached(done: Callable[[], int], wanted: float, workers: Sequence[subprocess.Popen[bytes]]) -> int:
    """How many are done once that is at least `wanted`. Raises where a worker ends before."""
    deadline = time.monotonic() + PATIENCE
    while (count := done()) < wanted:
        if time.monotonic() > deadline or any(one.poll() is not None for one in workers):
            raise RuntimeError(f"{count} of {wanted:g} jobs done, and no more")
        time.sleep(LOOK)
    return count


def figures(after: Usage, used: dict[str, float], seconds: float, jobs: int) -> Figures:
    """What the table shows of a part."""
    each = {name: 1e6 * cpu / jobs for name, cpu in used.items()}
    own = sum(cpu for name, cpu in each.items() if name.startswith("worker"))
    peak = sum(one.peak for name, one in after.families.items() if name.startswith("worker"))
    others = {name: cpu for name, cpu in each.items() if not name.startswith("worker")}
    return {
        "jobs/s": jobs / seconds,
        "µs CPU a job": sum(each.values()),
        "of these the workers": own,
        **others,
        "workers' peak MB": peak,
    }


def main() -> None:
    parser = arguments("jobs", __doc__, rounds=5)
    parser.add_argument(
        "--jobs", type=int, default=5000, help="of one part of a round (default: %(default)s)"
    )
    args = parser.parse_args()
    with ground() as place:
        parts = {
            f"Windmill, {broker}, {processes} × {threads}": partial(
                windmill, place, broker, processes, threads, args.jobs
            )
            for broker in BROKERS
            for processes, threads in SHAPES
        }
        seen = interleaved(parts, args.rounds)
    tell(seen, as_json=args.json, title=__doc__.splitlines()[0] if __doc__ else "")


if __name__ == "__main__":
    main()
