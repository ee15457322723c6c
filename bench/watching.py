"""How fast workers empty a queue, and what all that takes part uses."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

from bench.ground import Ground
from bench.rounds import Figures
from bench.usage import Usage
from windmill.settings import Settings

WARM = 0.1  # the share of the jobs that is done before the clock runs
LOOK = 0.02  # seconds between looks at how many are done
PATIENCE = 300.0  # seconds for one part


@contextmanager
def running(
    commands: Sequence[Sequence[str]], variables: dict[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes, all ended at the end."""
    processes = [
        subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        yield processes
    finally:
        for one in processes:
            one.terminate()
        for one in processes:
            one.wait(60)


def watched(
    place: Ground,
    settings: Settings,
    workers: Sequence[subprocess.Popen[bytes]],
    jobs: int,
    writers: int | None = None,
) -> Figures:
    """Jobs a second and their cost, until `jobs` rows are in `results`.

    The clock begins when a tenth is there and each of `writers` processes (as many as `workers` if not said)
    has written some: what is measured with half of them still starting would be another shape's. Raises where
    nothing is left by then.
    """
    usage = partial(place.usage, {f"worker {n}": one.pid for n, one in enumerate(workers)})
    with closing(place.postgres.connect(settings.db_name)) as connection, connection.cursor() as cursor:

        def begun() -> int:
            count, seen = _row(cursor, "SELECT count(*), count(DISTINCT worker_id) FROM results")
            return int(count) if seen >= (writers or len(workers)) or count >= jobs else 0

        def done() -> int:
            return int(_row(cursor, "SELECT count(*) FROM results")[0])

        first = reached(begun, WARM * jobs, workers)
        began, before = time.perf_counter(), usage()
        last = reached(done, jobs, workers)
        seconds, after = time.perf_counter() - began, usage()
    if first >= jobs:
        raise RuntimeError(f"all {jobs} jobs were done before all workers had begun: --jobs")
    if first > jobs / 2:
        sys.stderr.write(f"only {jobs - first} of {jobs} jobs were left for all workers together: --jobs\n")
    return figures(after, after.since(before), seconds, last - first)


def _row(cursor: Any, statement: str) -> tuple[Any, ...]:
    cursor.execute(statement)
    found: tuple[Any, ...] = cursor.fetchone()
    return found


def reached(
    done: Callable[[], int],
    wanted: float,
    workers: Sequence[subprocess.Popen[bytes]],
    patience: float = PATIENCE,
) -> int:
    """How many are done once that is at least `wanted`. Raises where a worker ends before."""
    deadline = time.monotonic() + patience
    while (count := done()) < wanted:
        if time.monotonic() > deadline or any(one.poll() is not None for one in workers):
            raise RuntimeError(f"{count} of {wanted:g} done, and no more")
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
