"""Merges and votes: how many a second, at what cost, and how many of their triggers need none?

Eleven services have replied. `single` is one trigger for each image, `burst` one for each result, as eleven
workers send them that take images in one order, each at its own speed; `each` recomputes for every trigger of
a burst, one after the other, within one process. An image is done once its last trigger is settled.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.ground import BROKERS, Ground, environment, ground
from bench.made_replies import DETECTORS, SERVICES, bodies, row
from bench.rounds import Figures, arguments, at_least, interleaved, tell
from bench.watching import reached, running
from windmill import wiring
from windmill.catalog import MERGER, VOTER
from windmill.handlers.base import Recomputation
from windmill.model import Dispatch, Image, Job, Outcome
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

TRIGGERS = {MERGER: len(DETECTORS), VOTER: len(SERVICES)}  # of an image, in a burst
WARM = 0.1  # the share of the images that is done before the clock runs
APART = 20  # images between the fastest worker and the slowest, about
_WINDOW = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """Databases to copy: eleven replies about each of so many images, without and with merged boxes."""

    images: int
    replied: str
    merged: str

    def of(self, stage: str) -> str:
        return self.replied if stage == MERGER else self.merged


def stored(place: Ground, images: int) -> Stored:
    """Writes them, as workers would."""
    replied = place.settings("postgres", service_config=_catalog(place))
    place.add_images(replied, images)
    said = bodies(images)
    with closing(PostgresStore(replied, "bench")) as store:
        for name in SERVICES:
            rows = [row(n, name, one[name]) for n, one in enumerate(said, 1)]
            for start in range(0, images, 100):
                store.save([Outcome(rows=tuple(rows[start : start + 100]))])
    place.postgres.run("VACUUM ANALYZE", replied.db_name)
    merged = replace(replied, db_name=place.postgres.new_database(replied.db_name))
    step = _step(MERGER, merged)
    with closing(PostgresStore(merged, "bench")) as store:
        for start in range(1, images + 1, 100):
            store.recompute(range(start, min(start + 100, images + 1)), partial(step, resumed=False))
    place.postgres.run("VACUUM ANALYZE", merged.db_name)
    return Stored(images, replied.db_name, merged.db_name)


def burst(images: Sequence[int], results: int) -> Iterator[int]:
    """The images of all triggers, in the order in which so many workers send them."""
    rng = random.Random(0)  # noqa: S311 -- not a secret
    moments = ((n + rng.uniform(0, APART), image) for _ in range(results) for n, image in enumerate(images))
    return (image for _, image in sorted(moments))


def queued(images: int, results: int) -> Sequence[int]:
    """Triggers of all images: two of them once each, the last of the warm-up and the last of all."""
    warm = int(WARM * images)
    marks = warm + 1, images
    return [*burst(range(1, warm + 1), results), marks[0],
            *burst(range(warm + 2, images), results), marks[1]]  # fmt: skip


def worker(place: Ground, base: Stored, broker: str, stage: str, results: int) -> Figures:
    """A worker of the stage, and a queue full of triggers."""
    settings = _copied(place, base, broker, stage)
    triggers = queued(base.images, results)
    with wiring.publisher(settings) as publisher:
        sent = [Dispatch(job=Job(image=_image(place, one)), services=(stage,)) for one in triggers]
        for start in range(0, len(sent), _WINDOW):
            publisher.publish(sent[start : start + _WINDOW])
    command = [sys.executable, "-m", "windmill", "work", stage]
    with running([command], environment(settings)) as (process,), made(place, settings, stage) as is_made:
        usage = partial(place.usage, {"worker": process.pid})
        reached(partial(is_made, int(WARM * base.images) + 1), 1, [process])
        began, before = time.perf_counter(), usage()
        reached(partial(is_made, base.images), 1, [process])
        seconds, after = time.perf_counter() - began, usage()
    images = base.images - int(WARM * base.images) - 1
    return figures(after.since(before), seconds, images)


def each(place: Ground, base: Stored, stage: str) -> Figures:
    """One recomputation for each trigger, and nothing else: no broker, no worker."""
    settings = _copied(place, base, "postgres", stage)
    step = _step(stage, settings)
    triggers = list(burst(range(1, base.images // 5 + 1), TRIGGERS[stage]))
    with closing(PostgresStore(settings, "bench")) as store:
        before, own, began = place.usage(), time.process_time(), time.perf_counter()
        for image in triggers:
            store.recompute([image], partial(step, resumed=False))
        seconds, used = time.perf_counter() - began, place.usage().since(before)
    return figures({**used, "worker": time.process_time() - own}, seconds, base.images // 5)


def figures(used: dict[str, float], seconds: float, images: int) -> Figures:
    """What the table shows of a part: the cost of an image."""
    cost = {name: 1e6 * cpu / images for name, cpu in used.items() if name != "service"}
    return {"images/s": images / seconds, "µs CPU an image": sum(cost.values()), **dict(sorted(cost.items()))}


@contextmanager
def made(place: Ground, settings: Settings, stage: str) -> Iterator[Callable[[int], bool]]:
    """Tells whether the worker has been at an image since the database was copied."""
    asked = "SELECT 1 FROM stages WHERE image_id = %s AND stage = %s AND worker_id <> 'bench'"
    with closing(place.postgres.connect(settings.db_name)) as connection, connection.cursor() as cursor:

        def is_made(image: int) -> bool:
            cursor.execute(asked, (image, stage))
            return cursor.fetchone() is not None

        yield is_made


def _catalog(place: Ground) -> Path:
    """The stages, and with all that follows from them."""
    path = place.folder / "stages.json"
    path.write_text(json.dumps({stage: {} for stage in (MERGER, VOTER)}), "utf-8")
    return path


def _copied(place: Ground, base: Stored, broker: str, stage: str) -> Settings:
    settings = place.settings(broker, service_config=_catalog(place))
    place.postgres.drop(settings.db_name)
    return replace(settings, db_name=place.postgres.new_database(base.of(stage)))


def _step(stage: str, settings: Settings) -> Recomputation:
    return wiring.RECOMPUTATIONS[stage](wiring.services(settings).stage(stage), settings)


def _image(place: Ground, number: int) -> Image:
    return Image(image_id=number, path=str(place.photo))


def main() -> None:
    parser = arguments("stages", __doc__, rounds=3)
    parser.add_argument(
        "--images", type=at_least(200), default=2000, help="of one part (default: %(default)s)"
    )
    args = parser.parse_args()
    with ground() as place:
        base = stored(place, args.images)
        parts = {
            f"{stage}, {name}, {broker}": partial(worker, place, base, broker, stage, results)
            for stage in (MERGER, VOTER)
            for name, results in (("single", 1), ("burst", TRIGGERS[stage]))
            for broker in BROKERS
        }
        parts |= {f"{stage}, each": partial(each, place, base, stage) for stage in (MERGER, VOTER)}
        seen = interleaved(parts, args.rounds)
    tell(seen, as_json=args.json, title=__doc__.splitlines()[0] if __doc__ else "")


if __name__ == "__main__":
    main()
