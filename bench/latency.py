"""How long from publishing an image to its rows that a reader can see: by load, at p50, p99 and at most.

    python -m bench.latency [--rounds N] [--seconds N] [--broker rabbitmq] [--share 0.5] [--json]

Three detectors and a captioner on the instant service, the merger and the voter, each a worker process of its
own, as `windmill work` starts it. First their capacity: images per second with 64 of them always under way.
Then images come at random, as many a second as the share of that capacity says (a Poisson process), at times
that are set before: where publishing falls behind, the time that is lost counts. Each image is published as
one dispatch for its four services.

"row" is one service's row in `results`, "consensus" the last row that the voter wrote of the image: all four
replies and the merged boxes are in it. What a row waited for is over when another session can see it. A
commit's own time stamp is too early for that, being taken before the disk has the commit; so a session asks
for `pg_current_snapshot()` each millisecond, and each row's `xmin` is looked up in what it saw.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.ground import BROKERS, Ground, environment, ground
from bench.rounds import Figures, arguments, tell
from bench.watching import reached, running
from windmill import wiring
from windmill.catalog import MERGER, VOTER
from windmill.model import Dispatch, Image, Job
from windmill.ports import Broker
from windmill.settings import Settings

DETECTORS = ("yolov8", "rtdetr", "nanodet")
CAPTIONER = "blip"
SERVICES = (*DETECTORS, CAPTIONER)
SHARES = (0.1, 0.5, 0.9)
WARMING = 100  # images before anything counts
IN_FLIGHT = 64  # images under way while the capacity is measured
LOOK = 0.001  # seconds between looks at what is visible
PATIENCE = 120.0  # seconds for what is under way to be done


@dataclass(frozen=True, slots=True)
class Seen:
    """`pg_current_snapshot()` at a moment: below `end` all is visible but what is under way."""

    moment: float
    end: int
    under_way: frozenset[int]

    def shows(self, transaction: int) -> bool:
        return transaction < self.end and transaction not in self.under_way


@dataclass(slots=True)
class Reader:
    """What another session can see, millisecond by millisecond."""

    cursor: Any
    seen: list[Seen] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        last = ""
        while not self.stop.wait(LOOK):
            self.cursor.execute("SELECT pg_current_snapshot()::text")
            text = str(self.cursor.fetchone()[0])
            if text != last:
                _, end, under_way = text.split(":")
                busy = frozenset(map(int, under_way.split(","))) if under_way else frozenset()
                self.seen.append(Seen(time.perf_counter(), int(end), busy))
                last = text

    def visible_since(self, transaction: int) -> float:
        """When a transaction's rows were first seen: what is visible stays so."""
        return self.seen[bisect_left(self.seen, True, key=lambda one: one.shows(transaction))].moment


@dataclass(frozen=True, slots=True)
class Site:
    """One broker's workers at work, and a session of our own."""

    settings: Settings
    publisher: Broker
    place: Ground
    cursor: Any
    workers: Sequence[subprocess.Popen[bytes]]

    def add_images(self, count: int) -> list[int]:
        """So many images that the ledger has noted for all services."""
        self.cursor.execute(
            "WITH fresh AS (INSERT INTO images (image_filename, image_path)"
            " SELECT n, %s FROM generate_series(1, %s) AS n RETURNING image_id),"
            " noted AS (INSERT INTO dispatches (image_id, service)"
            " SELECT image_id, service FROM fresh, unnest(%s::text[]) AS service)"
            " SELECT image_id FROM fresh ORDER BY image_id",
            (str(self.place.photo), count, list(SERVICES)),
        )
        return [image for (image,) in self.cursor.fetchall()]

    def publish(self, images: Sequence[int]) -> None:
        jobs = (Job(image=Image(image_id=one, path=str(self.place.photo), url=None)) for one in images)
        self.publisher.publish([Dispatch(job=job, services=SERVICES) for job in jobs])

    def finished(self, since: int) -> int:
        """How many images from `since` on have a consensus of all replies."""
        self.cursor.execute(
            "SELECT count(*) FROM stages WHERE image_id >= %s AND stage = %s AND seen ?& %s::text[]",
            (since, VOTER, [*SERVICES, MERGER]),
        )
        return int(self.cursor.fetchone()[0])

    def await_finished(self, since: int, wanted: int) -> int:
        return reached(partial(self.finished, since), wanted, self.workers, PATIENCE)

    def await_silence(self) -> None:
        """Until no job is in a queue or in hand: nothing is recomputed any more."""
        deadline = time.monotonic() + PATIENCE
        calm = 0
        while calm < 3:
            if time.monotonic() > deadline:
                raise RuntimeError("jobs are left in the queues")
            states = self.publisher.queue_states((*SERVICES, MERGER, VOTER)).values()
            calm = 0 if any(one.waiting for one in states) else calm + 1
            time.sleep(0.1)


@contextmanager
def site(place: Ground, broker: str) -> Iterator[Site]:
    """Workers that have done a few images already."""
    catalog = place.folder / "latency.json"
    here = {"host": "127.0.0.1", "port": place.port}
    entries: dict[str, object] = {name: {**here, "triggers": [MERGER, VOTER]} for name in DETECTORS}
    entries |= {CAPTIONER: {**here, "triggers": [VOTER]}, MERGER: {"triggers": [VOTER]}, VOTER: {}}
    catalog.write_text(json.dumps(entries), "utf-8")
    settings = place.settings(broker, service_config=catalog)
    commands = [[sys.executable, "-m", "windmill", "work", name] for name in entries]
    with (
        closing(place.postgres.connect(settings.db_name)) as connection,
        connection.cursor() as cursor,
        wiring.publisher(settings) as publisher,
        running(commands, environment(settings)) as workers,
    ):
        made = Site(settings, publisher, place, cursor, workers)
        images = made.add_images(WARMING)
        made.publish(images)
        made.await_finished(images[0], WARMING)
        yield made


def capacity(at: Site, seconds: float) -> float:
    """Images per second while so many are always under way."""
    images = at.add_images(round(seconds * 2000))
    sent, done, marks = 0, 0, []
    began = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        marks.append((now, done))
        if room := IN_FLIGHT - (sent - done):
            at.publish(images[sent : sent + room])
            sent += room
        time.sleep(5 * LOOK)
        done = at.finished(images[0])
    at.await_finished(images[0], sent)
    first = next(mark for mark in marks if mark[1] >= IN_FLIGHT)
    return (marks[-1][1] - first[1]) / (marks[-1][0] - first[0])


def loaded(at: Site, rate: float, seconds: float) -> Figures:
    """Milliseconds from an image's due time to its rows, while `rate` images a second come at random."""
    count = max(30, round(rate * seconds))
    images = at.add_images(count)
    with closing(at.place.postgres.connect(at.settings.db_name)) as own, own.cursor() as cursor:
        reader = Reader(cursor)
        watch = threading.Thread(target=reader.run)
        watch.start()
        try:
            due = send_on_time(at, images, rate)
            at.await_finished(images[0], count)
            at.await_silence()
            time.sleep(0.2)  # what was taken from the queues last is being written
        finally:
            reader.stop.set()
            watch.join()
    rows = waits(at, reader, due, "SELECT image_id, xmin::text::bigint FROM results")
    votes = waits(at, reader, due, "SELECT image_id, xmin::text::bigint FROM consensus")
    return {"images/s": rate, **spread("row", rows), **spread("consensus", votes)}


def send_on_time(at: Site, images: Sequence[int], rate: float) -> dict[int, float]:
    """When each image was due. Those that are late go together, as a producer's do."""
    chance = random.Random(1)  # noqa: S311 -- the same for all parts
    moment, due = time.perf_counter() + 0.1, {}
    for image in images:
        due[image] = moment
        moment += chance.expovariate(rate)
    sent = 0
    while sent < len(images):
        time.sleep(max(0.0, due[images[sent]] - time.perf_counter()))
        now = time.perf_counter()
        upto = next((n for n in range(sent, len(images)) if due[images[n]] > now), len(images))
        at.publish(images[sent:upto])
        sent = upto
    return due


def waits(at: Site, reader: Reader, due: dict[int, float], rows: str) -> list[float]:
    """Milliseconds of each row from its image's due time until it could be seen, in order."""
    at.cursor.execute(f"{rows} WHERE image_id >= %s", (min(due),))
    return sorted(1e3 * (reader.visible_since(xmin) - due[image]) for image, xmin in at.cursor.fetchall())


def spread(name: str, ordered: Sequence[float]) -> Figures:
    """p50, p99 and the most."""
    at = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {
        f"{name} {mark}, ms": ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        for mark, share in at.items()
    }


def main() -> None:
    parser = arguments("latency", __doc__, rounds=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each load (default: %(default)s)")
    parser.add_argument("--broker", choices=BROKERS, action="append", help="default: both")
    parser.add_argument("--share", type=float, action="append", help=f"of the capacity (default: {SHARES})")
    args = parser.parse_args()
    seen: dict[str, dict[str, list[float]]] = {}
    with ground() as place:
        for number in range(args.rounds):
            for broker in args.broker or BROKERS:
                with site(place, broker) as at:
                    most = capacity(at, args.seconds)
                    found = {"capacity": {"images/s": most}} | {
                        f"{share:.0%}": loaded(at, share * most, args.seconds)
                        for share in args.share or SHARES
                    }
                for name, figures in found.items():
                    units = seen.setdefault(f"{broker}, {name}", {})
                    for unit, value in figures.items():
                        units.setdefault(unit, []).append(value)
                sys.stderr.write(f"round {number + 1} of {args.rounds}: {broker}\n")
    tell(seen, as_json=args.json, title="from publishing an image")


if __name__ == "__main__":
    main()
