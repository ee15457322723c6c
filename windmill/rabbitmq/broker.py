"""RabbitMQ as the rest of Windmill sees it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from windmill import catalog
from windmill.core import wire
from windmill.core.reach import Reach
from windmill.model import Dispatch, QueueState
from windmill.rabbitmq import topology
from windmill.rabbitmq.census import Census
from windmill.rabbitmq.consuming import RabbitConsumer
from windmill.rabbitmq.declaring import Declarer, counts
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Patience, Sender
from windmill.rabbitmq.subscription import REDELIVERED
from windmill.settings import Settings


def connect(settings: Settings, name: str) -> RabbitMQ:
    """A broker, connected, or trying for ever while the server is down; the server shows it as `name`.

    Raises `ConfigError` for what does not pass by itself: user, password, vhost, certificate.
    """
    link = Link(settings, name)
    link.start()
    return RabbitMQ(link)


class RabbitMQ:
    """A `ports.Publisher`, and the maker of consumers, over one connection. Thread-safe.

    Everything raises `BrokerError` while the connection is down; `publish` waits some seconds for it.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._declarer = Declarer(link)
        self._sender = Sender(link, self._declarer)
        self._consumers: list[RabbitConsumer] = []

    def publish(
        self, dispatches: Sequence[Dispatch], *, doubtful: bool = False, stop: threading.Event | None = None
    ) -> None:
        """See `ports.Publisher`."""
        headers: dict[str, object] = {REDELIVERED: 1} if doubtful else {}
        messages = [_message(dispatch, headers) for dispatch in dispatches if dispatch.services]
        if messages:
            self._sender.send(messages, Patience(alarm=math.inf, stop=stop))

    def consumer(self, service: str, reach: Reach) -> RabbitConsumer:
        """See `ports.Broker`."""
        consumer = RabbitConsumer(self._link, self._declarer, self._sender, service=service, reach=reach)
        self._consumers.append(consumer)
        return consumer

    def queue_states(self, services: Iterable[str]) -> dict[str, QueueState]:
        """See `ports.Broker`."""
        works = {name: catalog.queue(name) for name in services}
        found = counts(self._link, works.values())
        existing = [name for name, work in works.items() if work in found]
        others = {queue for name in existing for queue in topology.queues(name)} - set(found)
        found |= counts(self._link, others)
        return {name: _state(name, found) if name in existing else QueueState() for name in works}

    def census(self, service: str) -> Iterator[bytes]:
        """See `ports.Broker`. What a worker has in hand is not among them."""
        return Census(self._link, self._declarer, self._sender).bodies(service)

    def close(self) -> None:
        """Closes the consumers and the connection, within a few seconds. Safe to call twice."""
        for consumer in self._consumers:
            consumer.close()
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _message(dispatch: Dispatch, headers: Mapping[str, object]) -> Message:
    targets = tuple((service, catalog.queue(service)) for service in dict.fromkeys(dispatch.services))
    return Message(targets=targets, body=wire.encode(dispatch.job), headers=headers)


def _state(service: str, found: Mapping[str, tuple[int, int]]) -> QueueState:
    waiting, consumers = found[catalog.queue(service)]
    undeliverable, _ = found.get(catalog.dead_queue(service), (0, 0))
    delayed = sum(found.get(queue, (0, 0))[0] for queue in topology.retry_queues(service))
    return QueueState(waiting=waiting + undeliverable, delayed=delayed, consumers=consumers)
