"""Fan-out of images onto 11 queues: one publish for all, against a confirmed publish for each.

With references, as Windmill sends them, by its producer with the ledger kept; and with bodies of 200 kB,
which it does not send (ADR 4), through its sender: what they would cost. Beside it a publish for each queue,
and Celery's group of 11 tasks, both with confirms and without any ledger.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pika
import psutil

from bench import rivals
from bench.ground import BROKERS, QUEUES, Ground, ground
from bench.jobs import produce
from bench.rounds import Figures, Part, arguments, at_least, interleaved, tell
from windmill import catalog, wiring
from windmill.core import wire
from windmill.model import Dispatch, Image, Job
from windmill.producing import WINDOW
from windmill.rabbitmq.declaring import Declarer
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Sender
from windmill.settings import Settings

BODY = 200_000  # bytes
TOGETHER = 4_000_000  # bytes of bodies in one call of the sender, which has as many as a producer's at most
FEWER = 20  # times fewer images with bodies, or with a confirm for each publish, which take so much longer
QUORUM, CLASSIC = {"x-queue-type": "quorum"}, {"x-queue-type": "classic"}


class Meter:
    """Images a second and CPU time of an image: the sender's, and all with the servers'."""

    def __init__(self, place: Ground, images: int) -> None:
        self.figures: Figures = {}
        self._place = place
        self._images = images

    @contextmanager
    def __call__(self) -> Iterator[None]:
        own, before, began = psutil.Process().cpu_times(), self._place.usage(), time.perf_counter()
        yield
        seconds, after, now = time.perf_counter() - began, self._place.usage(), psutil.Process().cpu_times()
        used = {"sender": now.user + now.system - own.user - own.system, **after.since(before)}
        self.figures = figures(used, seconds, self._images)


def figures(used: Mapping[str, float], seconds: float, images: int) -> Figures:
    """What the table shows of a part."""
    each = {name: 1e6 * cpu / images for name, cpu in used.items() if name != "service"}
    return {"images/s": images / seconds, "µs CPU an image": sum(each.values()), **each}


def producer(place: Ground, broker: str, images: int) -> Figures:
    """From the table of images onto 11 queues, each noted in the ledger."""
    metered = Meter(place, images)
    with place.fresh(broker) as settings:
        place.add_images(settings, images)
        with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
            publisher.publish([Dispatch(job=_job(place, 0), services=QUEUES)])  # the queues are there
            with metered():
                produce(ledger, publisher, QUEUES)
    return metered.figures


def sender(place: Ground, kind: Mapping[str, str], body: bytes, images: int) -> Figures:
    """The sender alone: one publish an image, which the broker copies onto 11 queues."""
    metered = Meter(place, images)
    with place.fresh("rabbitmq") as settings, closing(Link(settings, "fan-out")) as link:
        link.start()
        own = Sender(link, Declarer(link))
        targets = tuple((name, catalog.queue(name)) for name in QUEUES)
        if kind is CLASSIC:
            targets = tuple((name, f"classic_{name}") for name in QUEUES)
            _declare(place, settings, [queue for _, queue in targets], kind)
        message = Message(targets=targets, body=body)
        together = min(WINDOW, TOGETHER // len(body))
        own.send([message])
        with metered():
            for start in range(0, images, together):
                own.send([message] * min(together, images - start))
    return metered.figures


def one_by_one(place: Ground, kind: Mapping[str, str], body: bytes, images: int) -> Figures:
    """What one writes first: a confirmed publish for each queue."""
    names, metered = [f"naive_{name}" for name in QUEUES], Meter(place, images)
    persistent = pika.BasicProperties(delivery_mode=2)
    with place.fresh("rabbitmq") as settings:
        _declare(place, settings, names, kind)
        with closing(place.rabbitmq.connect(settings.queue_vhost)) as connection, metered():
            channel = connection.channel()
            channel.confirm_delivery()
            for _ in range(images):
                for name in names:
                    channel.basic_publish("", name, body, persistent, mandatory=True)
    return metered.figures


def celery_group(place: Ground, size: int, images: int) -> Figures:
    """A group of 11 tasks for each image, from a process of its own."""
    command = [sys.executable, "-m", "bench.peers.celery_groups", str(images), str(size), *QUEUES]
    with place.fresh("rabbitmq") as settings:
        _, used, seconds = rivals.signalled(place, settings, [command])
    return figures({"sender": used.pop("worker 0"), **used}, seconds, images)


def _declare(place: Ground, settings: Settings, names: list[str], kind: Mapping[str, str]) -> None:
    with closing(place.rabbitmq.connect(settings.queue_vhost)) as connection:
        channel: Any = connection.channel()
        for name in names:
            channel.queue_declare(name, durable=True, arguments=dict(kind))


def _job(place: Ground, number: int) -> Job:
    return Job(image=Image(image_id=number, path=str(place.photo)))


def _parts(place: Ground, images: int) -> Iterator[tuple[str, Part]]:
    few, reference, photo = max(1, images // FEWER), wire.encode(_job(place, 1)), b"x" * BODY
    for broker in BROKERS:
        yield f"references: producer with ledger, {broker}", partial(producer, place, broker, images)
    yield "references: one publish, no ledger", partial(sender, place, QUORUM, reference, images)
    yield "references: 11 confirmed publishes", partial(one_by_one, place, QUORUM, reference, few)
    group: Callable[[int, int], Figures] = partial(celery_group, place)
    celery = rivals.installed("celery", "celery")
    if celery:
        yield "references: Celery group of 11", partial(group, 0, few)
    for name, kind in (("quorum", QUORUM), ("classic", CLASSIC)):
        yield f"200 kB: one publish, {name}", partial(sender, place, kind, photo, few)
        yield f"200 kB: 11 confirmed publishes, {name}", partial(one_by_one, place, kind, photo, few)
    if celery:
        yield "200 kB: Celery group of 11, classic", partial(group, BODY, few)


def main() -> None:
    parser = arguments("fan_out", __doc__, rounds=5)
    parser.add_argument(
        "--images", type=at_least(100), default=3000, help="of one part of a round (default: %(default)s)"
    )
    args = parser.parse_args()
    with ground() as place:
        seen = interleaved(dict(_parts(place, args.images)), args.rounds)
    tell(seen, as_json=args.json, title=__doc__.splitlines()[0] if __doc__ else "")


if __name__ == "__main__":
    main()
