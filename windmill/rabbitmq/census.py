"""What lies in the queues of a service, seen by taking every message out and sending it anew.

A quorum queue counts a message that is returned as delivered, and sets it aside when that happens too often;
one that is sent anew and acked is a new message. The copy is confirmed before the ack, so that whoever dies
in between leaves some messages twice and none lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from windmill import catalog
from windmill.errors import BrokerError
from windmill.model import Delivery
from windmill.rabbitmq import topology
from windmill.rabbitmq.declaring import Declarer, counts
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Sender
from windmill.rabbitmq.subscription import DUE, Subscription, renewed, token

WINDOW = 200  # messages in hand at a time
GAP = 0.5  # seconds without a message after which a look tells whether there are any left
PATIENCE = 15.0  # seconds for a broker that has messages to deliver one


class Census:
    """Counts the messages of one service at a time."""

    def __init__(self, link: Link, declarer: Declarer, sender: Sender) -> None:
        self._link = link
        self._declarer = declarer
        self._sender = sender

    def bodies(self, service: str) -> Iterator[bytes]:
        """See `ports.Broker.census`. The queues come in the order in which messages move through them."""
        steps = topology.retry_queues(service)
        for queue in (*steps, catalog.queue(service), catalog.dead_queue(service)):
            count, _ = counts(self._link, [queue]).get(queue, (0, 0))
            if count:
                yield from self._queue(service, queue, count, steps.get(queue))

    def _queue(self, service: str, queue: str, count: int, step: int | None) -> Iterator[bytes]:
        """The first `count` messages, or as many as workers leave."""
        with self._subscribed(service, queue) as intake:
            try:
                while count > 0 and (window := intake.window()):
                    self._renew(intake.subscription, window, step)
                    yield from [one.body for one in window[:count]]
                    count -= len(window)
            finally:
                self._renew(intake.subscription, intake.subscription.cancel(), step)

    def _renew(self, subscription: Subscription, window: Sequence[Delivery], step: int | None) -> None:
        self._sender.send([_copy(one, step) for one in window])
        subscription.ack([token(one).tag for one in window])

    @contextmanager
    def _subscribed(self, service: str, queue: str) -> Iterator[_Intake]:
        changed = threading.Condition()
        subscription = Subscription(self._link.channel(0), service, changed, self._declarer.forget)
        try:
            subscription.consume({queue: WINDOW})
            yield _Intake(self._link, subscription, changed, queue)
        finally:
            subscription.channel.close()


class _Intake:
    """What a subscription brings, a window at a time."""

    def __init__(
        self, link: Link, subscription: Subscription, changed: threading.Condition, queue: str
    ) -> None:
        self._link = link
        self.subscription = subscription
        self._changed = changed
        self._queue = queue

    def window(self) -> Sequence[Delivery]:
        """The messages that have come by now, waiting for the first; none when there are none left."""
        deadline = time.monotonic() + PATIENCE
        while not self._came():
            if self.subscription.channel.gone.is_set():
                raise BrokerError(f"RabbitMQ ended a census of {self._queue}")
            if not counts(self._link, [self._queue]).get(self._queue, (0, 0))[0]:
                break
            if time.monotonic() > deadline:
                raise BrokerError(f"RabbitMQ delivers nothing from {self._queue}, which is not empty")
        with self._changed:
            ready = self.subscription.ready
            return [ready.popleft() for _ in range(len(ready))]

    def _came(self) -> bool:
        def settled() -> bool:
            return bool(self.subscription.ready) or self.subscription.channel.gone.is_set()

        with self._changed:
            return self._changed.wait_for(settled, GAP) and bool(self.subscription.ready)


def _copy(delivery: Delivery, step: int | None) -> Message:
    """The same message; a failed job waits for what is left of its time, as its worker's clock said it."""
    due = token(delivery).headers.get(DUE)
    if step is None or not isinstance(due, int):
        return renewed(delivery)
    return renewed(delivery, lifetime=min(max(0.0, due / 1000 - time.time()), step))
