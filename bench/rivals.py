"""Parts of `bench.jobs` that are not Windmill: what a user would pick instead, and limits of the machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.ground import SERVICE, Ground, environment
from bench.rounds import Figures
from bench.usage import Usage
from bench.watching import figures, running, watched
from windmill import wiring
from windmill.model import Dispatch, Image, Job
from windmill.settings import Settings

WINDOW = 1000  # messages in one publish call, when a queue is filled
BATCH = 100  # rows in one transaction of the loops that write many
_CELERY = ("-m", "celery", "-A", "bench.peers.celery_tasks", "worker", "--loglevel", "ERROR")
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")  # nobody listens to them here


def installed(module: str, requirement: str) -> bool:
    """Whether a rival is there; says on stderr how to have it."""
    if importlib.util.find_spec(module) is not None:
        return True
    sys.stderr.write(f"without {module}: pip install {requirement!r}, or all: pip install -e '.[bench]'\n")
    return False


def variables(place: Ground, settings: Settings) -> dict[str, str]:
    """The environment of a peer's process."""
    return {**environment(settings), "BENCH_SERVICE_PORT": str(place.port)}


@contextmanager
def filled(place: Ground, module: str, threads: int, jobs: int) -> Iterator[Settings]:
    """A fresh ground with `jobs` jobs that a peer's own client has sent."""
    with place.fresh("rabbitmq", worker_concurrency=threads) as settings:
        place.add_images(settings, jobs)
        command = [sys.executable, "-m", module, str(jobs), str(place.photo)]
        subprocess.run(command, env=variables(place, settings), check=True)
        yield settings


def celery(place: Ground, processes: int, threads: int, jobs: int) -> Figures:
    """Celery with threads, which shares a process among jobs as Windmill does."""
    return _celery(place, [("threads", threads)] * processes, processes, jobs)


def celery_prefork(place: Ground, children: int, jobs: int) -> Figures:
    """Celery's own way: a process for each job at a time, by default as many as there are cores."""
    return _celery(place, [("prefork", children)], children, jobs)


def _celery(place: Ground, pools: Sequence[tuple[str, int]], writers: int, jobs: int) -> Figures:
    commands = [
        [sys.executable, *_CELERY, *_ALONE, "--pool", pool, "--concurrency", str(size), "-n", f"w{n}@bench"]
        for n, (pool, size) in enumerate(pools)
    ]
    with (
        filled(place, "bench.peers.celery_tasks", pools[0][1], jobs) as settings,
        running(commands, variables(place, settings)) as workers,
    ):
        return watched(place, settings, workers, jobs, writers)


def dramatiq(place: Ground, processes: int, threads: int, jobs: int) -> Figures:
    """Dramatiq; by default a process for each core, of 8 threads each."""
    module = "bench.peers.dramatiq_actors"
    command = [sys.executable, "-m", "dramatiq", module, "-p", str(processes), "-t", str(threads)]
    with (
        filled(place, module, threads, jobs) as settings,
        running([command], variables(place, settings)) as workers,
    ):
        return watched(place, settings, workers, jobs, processes)


def bare(place: Ground, broker: str, batch: int, processes: int, threads: int, jobs: int) -> Figures:
    """A loop without guarantees beyond at-least-once, on the very queue and message that Windmill uses."""
    command = [sys.executable, "-m", "bench.peers.bare", broker, str(batch)]
    with place.fresh(broker, worker_concurrency=threads) as settings:
        place.add_images(settings, jobs)
        fill_bare(place, settings, jobs)
        with running([command] * processes, variables(place, settings)) as workers:
            return watched(place, settings, workers, jobs)


def fill_bare(place: Ground, settings: Settings, jobs: int) -> None:
    """The queue as Windmill fills it, or on PostgreSQL a table of nothing but a number and a body."""
    if settings.broker == "rabbitmq":
        sent = [
            Dispatch(job=Job(image=Image(image_id=n, path=str(place.photo))), services=(SERVICE,))
            for n in range(1, jobs + 1)
        ]
        with wiring.publisher(settings) as publisher:
            for start in range(0, jobs, WINDOW):
                publisher.publish(sent[start : start + WINDOW])
        return
    body = f"""'{{"v":1,"image":{{"id":' || n || ',"path":"{place.photo}"}}}}'"""
    for statement in (
        "CREATE TABLE bare_jobs (job_id BIGINT PRIMARY KEY, body BYTEA NOT NULL)",
        f"INSERT INTO bare_jobs SELECT n, convert_to({body}, 'UTF8') FROM generate_series(1, {jobs}) AS n",  # noqa: S608
    ):
        place.postgres.run(statement, settings.db_name)


def alone(place: Ground, part: str, processes: int, threads: int, jobs: int) -> Figures:
    """Half of a job, in a tight loop: `http`, or rows by `commit`, `batch` or `copy`."""
    share = jobs // (processes * threads) * threads
    command = [sys.executable, "-m", "bench.peers.alone", part, str(share), str(place.photo)]
    with place.fresh("rabbitmq", worker_concurrency=threads) as settings:
        place.add_images(settings, share)
        after, used, seconds = signalled(place, settings, [command] * processes)
    return figures(after, used, seconds, share * processes)


def signalled(
    place: Ground, settings: Settings, commands: Sequence[Sequence[str]]
) -> tuple[Usage, dict[str, float], float]:
    """Has processes begin together once all are ready: what is used at the end and between, and seconds."""
    with ExitStack() as stack:
        workers = [stack.enter_context(_ready(command, variables(place, settings))) for command in commands]
        usage = partial(place.usage, {f"worker {n}": one.pid for n, one in enumerate(workers)})
        began, before = time.perf_counter(), usage()
        for one in workers:
            _say(one)
        for one in workers:
            _heard(one, "done")
        seconds, after = time.perf_counter() - began, usage()
    return after, after.since(before), seconds


@contextmanager
def _ready(command: Sequence[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ready to begin."""
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            _heard(process, "ready")
            yield process
        finally:
            process.terminate()


def _say(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def _heard(process: subprocess.Popen[bytes], word: str) -> None:
    assert process.stdout is not None
    heard = process.stdout.readline().decode().strip()
    if heard != word:
        raise RuntimeError(f"a part said {heard!r} and not {word!r}")


def cores() -> int:
    """What both peers take as the number of their processes, unless told."""
    return len(os.sched_getaffinity(0))
