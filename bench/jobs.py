"""Jobs, each a POST of a photo of 100 kB to an instant service and one durable row: how many, at what cost?

Windmill's workers, with the ledger and all that they promise, beside Celery and Dramatiq on the same servers,
and beside limits: loops that promise little, and halves of a job alone. All work on jobs that wait already.
CPU time is that of all processes: workers with their decoders, RabbitMQ, PostgreSQL and the service.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from bench import rivals
from bench.ground import BROKERS, SERVICE, Ground, environment, ground
from bench.rounds import Figures, Part, Seen, arguments, at_least, interleaved, tell
from bench.watching import running, watched
from windmill import wiring
from windmill.model import Missing
from windmill.ports import Broker, Ledger
from windmill.producing import Pace, Producer

Shape = tuple[int, int]  # processes, threads of each
SHAPES: tuple[Shape, ...] = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 4))
LONGER = 4  # times as many jobs for Windmill and the limits, or they would be over before their pace is known
SPEED, COST = "jobs/s", "µs CPU a job"


class Nothing:
    """A meter that says nothing."""

    def update(self, done: int, total: int | None = None) -> None: ...


def windmill(place: Ground, broker: str, processes: int, threads: int, jobs: int) -> Figures:
    """Windmill's own workers."""
    command = [sys.executable, "-m", "windmill", "work", SERVICE]
    with place.fresh(broker, worker_concurrency=threads) as settings:
        place.add_images(settings, jobs)
        with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
            produce(ledger, publisher, (SERVICE,))
        with running([command] * processes, environment(settings)) as workers:
            return watched(place, settings, workers, jobs)


def produce(ledger: Ledger, broker: Broker, services: tuple[str, ...], delay: float = 0.0) -> None:
    """Sends all images to `services`, as `windmill produce` does; `delay` is in seconds after each."""
    pace = Pace(max_queue_depth=10**9, delay=delay)
    Producer(Missing(services=services), ledger, broker, pace, threading.Event()).run(Nothing())


# --- which parts --------------------------------------------------------------------------------------

Parts = Iterator[tuple[str, Part]]


def _windmill(place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    for broker in BROKERS:
        for shape in shapes:
            yield (
                f"Windmill, {broker}, {_text(shape)}",
                partial(windmill, place, broker, *shape, LONGER * jobs),
            )


def _celery(place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    if rivals.installed("celery", "celery"):
        for shape in shapes:
            yield f"Celery, threads, {_text(shape)}", partial(rivals.celery, place, *shape, jobs)
        cores = rivals.cores()
        yield f"Celery, prefork, {cores} × 1", partial(rivals.celery_prefork, place, cores, jobs)


def _dramatiq(place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    if rivals.installed("dramatiq", "dramatiq[rabbitmq]"):
        for shape in dict.fromkeys((*shapes, (rivals.cores(), 8))):
            yield f"Dramatiq, {_text(shape)}", partial(rivals.dramatiq, place, *shape, jobs)


def _bare(name: str, broker: str, batch: int, place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    for shape in shapes:
        yield f"{name}, {_text(shape)}", partial(rivals.bare, place, broker, batch, *shape, LONGER * jobs)


def _http(place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    for shape in shapes:
        yield f"POSTs alone, {_text(shape)}", partial(rivals.alone, place, "http", *shape, LONGER * jobs)


def _rows(place: Ground, shapes: Sequence[Shape], jobs: int) -> Parts:
    del shapes  # a writer is one
    for part, name in (("commit", "a commit each"), ("batch", "batches of 100"), ("copy", "COPY of 100")):
        yield f"rows alone, {name}", partial(rivals.alone, place, part, 1, 1, LONGER * jobs)


BATCHED, TABLE = "bare loop, batches", "bare table, batches"
KINDS: Mapping[str, Callable[[Ground, Sequence[Shape], int], Parts]] = {
    "windmill": _windmill,
    "celery": _celery,
    "dramatiq": _dramatiq,
    "batched": partial(_bare, BATCHED, "rabbitmq", rivals.BATCH),
    "committed": partial(_bare, "bare loop, a commit each", "rabbitmq", 1),
    "table": partial(_bare, TABLE, "postgres", rivals.BATCH),
    "http": _http,
    "rows": _rows,
}


def _text(shape: Shape) -> str:
    return f"{shape[0]} × {shape[1]}"


# --- what comes of it ---------------------------------------------------------------------------------


def summary(seen: Seen) -> list[str]:
    """Windmill at its fastest, on each broker, beside the better of the peers and beside the bare loop."""
    return [line for broker in BROKERS if (line := _summary(seen, broker))]


def _summary(seen: Seen, broker: str) -> str:
    ours = _middles(seen, f"Windmill, {broker}")
    if not ours:
        return ""
    own = max(ours, key=lambda name: ours[name][SPEED])
    said = f"{own}: {ours[own][SPEED]:,.0f} jobs/s, {ours[own][COST]:,.0f} µs"
    peers = _middles(seen, "Celery", "Dramatiq")
    if peers:
        fast = max(peers, key=lambda name: peers[name][SPEED])
        thrifty = min(peers, key=lambda name: peers[name][COST])
        said += f"; {ours[own][SPEED] / peers[fast][SPEED]:.2f} times the jobs/s of {fast}"
        said += f"; 1/{peers[thrifty][COST] / ours[own][COST]:.2f} of the CPU of {thrifty}"
    bare = _middles(seen, BATCHED if broker == "rabbitmq" else TABLE)
    if bare:
        best = max(bare, key=lambda name: bare[name][SPEED])
        said += f"; {ours[own][SPEED] / bare[best][SPEED]:.2f} of the jobs/s of {best}"
    return said


def _middles(seen: Seen, *starts: str) -> dict[str, dict[str, float]]:
    return {
        name: {unit: statistics.median(part[unit]) for unit in (SPEED, COST)}
        for name, part in seen.items()
        if name.startswith(starts)
    }


def _kinds(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(KINDS):
        raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return names


def _shapes(text: str) -> list[Shape]:
    try:
        pairs = [one.split("x") for one in text.split(",")]
        return [(int(processes), int(threads)) for processes, threads in pairs]
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text}: expected processes x threads, like 1x8,2x4") from exc


def main() -> None:
    parser = arguments("jobs", __doc__, rounds=5)
    parser.add_argument(
        "--jobs", type=at_least(500), default=5000, help="of one part of a round (default: %(default)s)"
    )
    parser.add_argument(
        "--only", type=_kinds, default=list(KINDS), metavar="KIND,…", help=f"of {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--shape",
        type=_shapes,
        default=SHAPES,
        metavar="PxT,…",
        help=f"processes x threads (default: {','.join(f'{p}x{t}' for p, t in SHAPES)})",
    )
    args = parser.parse_args()
    with ground() as place:
        parts = dict(part for kind in args.only for part in KINDS[kind](place, args.shape, args.jobs))
        seen = interleaved(parts, args.rounds)
    tell(seen, as_json=args.json, title=__doc__.splitlines()[0] if __doc__ else "")
    for line in summary(seen):
        sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
