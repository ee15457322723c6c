"""RabbitMQ as the rest of Windmill sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from windmill import catalog
from windmill.core import wire
from windmill.model import Dispatch
from windmill.rabbitmq.consuming import RabbitConsumer
from windmill.rabbitmq.declaring import Declarer, depths
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Sender
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

    def publish(self, dispatches: Sequence[Dispatch]) -> None:
        """See `ports.Publisher`."""
        messages = [_message(dispatch) for dispatch in dispatches if dispatch.services]
        if messages:
            self._sender.send(messages)

    def consumer(self, service: str, prefetch: int) -> RabbitConsumer:
        """A consumer of the queue of `service` with at most `prefetch` deliveries unsettled at a time."""
        consumer = RabbitConsumer(
            self._link, self._declarer, self._sender, service=service, prefetch=prefetch
        )
        self._consumers.append(consumer)
        return consumer

    def queue_depths(self, services: Iterable[str]) -> dict[str, int]:
        """Jobs that wait in the queue of each service; 0 where none was ever sent. Raises `BrokerError`."""
        names = tuple(services)
        return dict(zip(names, depths(self._link, [catalog.queue(name) for name in names]), strict=True))

    def close(self) -> None:
        """Closes the consumers and the connection, within a few seconds. Safe to call twice."""
        for consumer in self._consumers:
            consumer.close()
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _message(dispatch: Dispatch) -> Message:
    targets = tuple((service, catalog.queue(service)) for service in dict.fromkeys(dispatch.services))
    return Message(targets=targets, body=wire.encode(dispatch.job))
