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


def filled(place: Ground, module: str, threads: int, jobs: int) -> Settings:
    """A fresh ground with `jobs` jobs that a peer's own client has sent."""
    settings = place.settings("rabbitmq", worker_concurrency=threads)
    place.add_images(settings, jobs)
    command = [sys.executable, "-m", module, str(jobs), str(place.photo)]
    subprocess.run(command, env=variables(place, settings), check=True)
    return settings


def celery(place: Ground, processes: int, threads: int, jobs: int) -> Figures:
    """Celery with threads, which shares a process among jobs as Windmill does."""
    return _celery(place, [("threads", threads)] * processes, processes, jobs)


def celery_prefork(place: Ground, children: int, jobs: int) -> Figures:
    """Celery's own way: a process for each job at a time, by default as many as there are cores."""
    return _celery(place, [("prefork", children)], children, jobs)


def _celery(place: Ground, pools: Sequence[tuple[str, int]], writers: int, jobs: int) -> Figures:
    settings = filled(place, "bench.peers.celery_tasks", pools[0][1], jobs)
    commands = [
        [sys.executable, *_CELERY, *_ALONE, "--pool", pool, "--concurrency", str(size), "-n", f"w{n}@bench"]
        for n, (pool, size) in enumerate(pools)
    ]
    with running(commands, variables(place, settings)) as workers:
        return watched(place, settings, workers, jobs, writers)


def dramatiq(place: Ground, processes: int, threads: int, jobs: int) -> Figures:
    """Dramatiq; by default a process for each core, of 8 threads each."""
    settings = filled(place, "bench.peers.dramatiq_actors", threads, jobs)
    module = "bench.peers.dramatiq_actors"
    command = [sys.executable, "-m", "dramatiq", module, "-p", str(processes), "-t", str(threads)]
    with running([command], variables(place, settings)) as workers:
        return watched(place, settings, workers, jobs, processes)


def bare(place: Ground, broker: str, batch: int, processes: int, threads: int, jobs: int) -> Figures:
    """A loop without guarantees beyond at-least-once, on the very queue and message that Windmill uses."""
    settings = place.settings(broker, worker_concurrency=threads)
    place.add_images(settings, jobs)
    fill_bare(place, settings, jobs)
    command = [sys.executable, "-m", "bench.peers.bare", broker, str(batch)]
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
    settings = place.settings("rabbitmq", worker_concurrency=threads)
    place.add_images(settings, jobs)
    share = jobs // processes
    command = [sys.executable, "-m", "bench.peers.alone", part, str(share), str(place.photo)]
    with ExitStack() as stack:
        workers = [stack.enter_context(_ready(command, variables(place, settings))) for _ in range(processes)]
        usage = partial(place.usage, {f"worker {n}": one.pid for n, one in enumerate(workers)})
        began, before = time.perf_counter(), usage()
        for one in workers:
            _say(one)
        for one in workers:
            _heard(one, "done")
        seconds, after = time.perf_counter() - began, usage()
    return figures(after, after.since(before), seconds, share // threads * threads * processes)


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
