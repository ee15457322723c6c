"""Deliveries from one queue, and what becomes of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from windmill import catalog
from windmill.errors import BrokerError, WindmillError
from windmill.model import Again, Bury, Delivery, Settlement
from windmill.rabbitmq import topology
from windmill.rabbitmq.channel import CLOSE_TIMEOUT, ChannelLost
from windmill.rabbitmq.declaring import Declarer, depths, refusal
from windmill.rabbitmq.link import Link
from windmill.rabbitmq.publishing import Message, Sender
from windmill.rabbitmq.subscription import ATTEMPT, REDELIVERED, Subscription, Token

log = logging.getLogger(__name__)

ERROR, REASON = "x-windmill-error", "x-windmill-reason"
LONGEST_REASON = 2000  # characters; a header has to fit in a frame
PAUSE_AFTER_ERROR = 1.0


class RabbitConsumer:
    """A `ports.Consumer` of the queue of `service`. Thread-safe.

    It subscribes at the first `take`, and again by itself after a lost connection. At most `prefetch`
    deliveries are unsettled at a time, taken or not.
    """

    def __init__(
        self, link: Link, declarer: Declarer, sender: Sender, *, service: str, prefetch: int
    ) -> None:
        self.service = service
        self._link = link
        self._declarer = declarer
        self._sender = sender
        self._prefetch = prefetch
        self._changed = threading.Condition()
        self._setup = threading.Lock()
        self._subscription: Subscription | None = None
        self._paused = False

    def take(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """See `ports.Consumer`. Nothing arrives while unconnected. Raises `ConfigError`."""
        deadline = time.monotonic() + timeout
        while True:
            self._subscribe(deadline)
            taken = self._pick(limit, deadline)
            if taken or self._paused or time.monotonic() >= deadline:
                return taken

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.Consumer`. Acks leave soon after, in one write; the others are confirmed first."""
        current = self._subscription
        if current is None or current.channel.gone.is_set():
            return
        live = [one for one in settlements if _token(one.delivery).subscription is current]
        messages = [message for one in live if (message := _sent_on(one)) is not None]
        if messages:
            self._sender.send(messages)
        if live:
            current.ack([_token(one.delivery).tag for one in live])

    def depth(self) -> int:
        """See `ports.Consumer`."""
        return depths(self._link, [catalog.queue(self.service)])[0]

    def pause(self) -> None:
        """Takes nothing more off the queue, for good, and gives back what no one has taken yet.

        What was taken can still be settled. What cannot be given back now returns with `close`.
        """
        with self._changed:
            self._paused = True
            self._changed.notify_all()
        with self._setup:
            if self._subscription is None or not self._subscription.active:
                return
            try:
                self._give_back(self._subscription)
            except BrokerError as exc:
                log.info("%s: the broker takes back by itself what nobody took: %s", self.service, exc)

    def close(self) -> None:
        """Ends consuming. What has not been settled goes back to the queue. Safe to call twice."""
        self.pause()
        with self._setup:
            current, self._subscription = self._subscription, None
            if current is not None:
                current.channel.close()

    def _needs_subscription(self) -> bool:
        """Whether messages should flow and do not."""
        active = self._subscription is not None and self._subscription.active
        return not (self._paused or active)

    def _subscribe(self, deadline: float) -> None:
        """Has messages flow, if it can be done before `deadline`."""
        if not self._needs_subscription() or not self._link.wait_open(deadline - time.monotonic()):
            return
        try:
            with self._setup:
                if self._needs_subscription():
                    self._subscription = self._new()
        except BrokerError as exc:
            log.info("%s: cannot consume yet: %s", self.service, exc)
            with self._changed:
                self._changed.wait(max(0.0, min(PAUSE_AFTER_ERROR, deadline - time.monotonic())))

    def _new(self) -> Subscription:
        channel = self._link.channel(0)
        subscription = Subscription(channel, self.service, self._changed, self._declarer.forget)
        try:
            self._declarer.ensure([(self.service, catalog.queue(self.service))])
            subscription.consume(self._prefetch)
        except ChannelLost as exc:
            raise refusal(exc, self._link.settings.queue_user) from exc
        except WindmillError:
            channel.close()
            raise
        return subscription

    def _pick(self, limit: int, deadline: float) -> Sequence[Delivery]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._paused or self._ready or self._needs_subscription(),
                max(0.0, deadline - time.monotonic()),
            )
            ready = self._ready
            return [ready.popleft() for _ in range(min(limit, len(ready)))]

    @property
    def _ready(self) -> deque[Delivery]:
        return deque() if self._paused or self._subscription is None else self._subscription.ready

    def _give_back(self, subscription: Subscription) -> None:
        """Sends untaken messages to the queue anew: one that goes back by itself counts as delivered."""
        subscription.cancel()
        with self._changed:
            untaken = list(subscription.ready)
            subscription.ready.clear()
        if not untaken:
            return
        queue = catalog.queue(self.service)
        self._sender.send([_successor(one, queue, {ATTEMPT: one.attempt}) for one in untaken], CLOSE_TIMEOUT)
        subscription.ack([_token(one).tag for one in untaken])


def _token(delivery: Delivery) -> Token:
    if not isinstance(delivery.token, Token):
        raise TypeError(f"a delivery of another broker: {delivery.token!r}")
    return delivery.token


def _sent_on(settlement: Settlement) -> Message | None:
    """The message that takes a delivery's place, if any."""
    delivery, decision = settlement.delivery, settlement.decision
    if isinstance(decision, Again):
        queue = catalog.retry_queue(delivery.service, topology.step_for(decision.delay))
        headers: dict[str, str | int] = {ATTEMPT: decision.attempt}
    elif isinstance(decision, Bury):
        queue = catalog.dead_queue(delivery.service)
        headers = {ATTEMPT: delivery.attempt, ERROR: decision.error, REASON: _header(decision.reason)}
    else:
        return None
    return _successor(delivery, queue, headers)


def _successor(delivery: Delivery, queue: str, headers: Mapping[str, str | int]) -> Message:
    if delivery.redelivered:
        headers = {**headers, REDELIVERED: 1}
    return Message(targets=((delivery.service, queue),), body=delivery.body, headers=headers)


def _header(text: str) -> str:
    return text[:LONGEST_REASON].encode("utf-8", "replace").decode()
