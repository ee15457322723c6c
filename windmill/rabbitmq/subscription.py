"""One channel that consumes queues of one service, and the acks of what it delivered."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika

from windmill import catalog
from windmill.core.retrying import TRIALS
from windmill.model import Delivery
from windmill.rabbitmq.channel import CLOSE_TIMEOUT, Channel, Reply
from windmill.rabbitmq.publishing import Message

log = logging.getLogger(__name__)

ATTEMPT = "x-windmill-attempt"  # carries `Delivery.attempt`
REDELIVERED = "x-windmill-redelivered"  # carries `Delivery.redelivered` to a message sent in place of another
DUE = "x-windmill-due"  # when a failed job's time comes: milliseconds since 1970, by the worker's clock
DELIVERIES = "x-delivery-count"  # the broker's own: of this queue, without a settlement
_NOT_KEPT = ("CC", DELIVERIES)  # would copy the message to all its queues; the broker's own


class Subscription:
    """One channel that consumes queues. Its deliveries can be settled as long as the channel lives."""

    def __init__(
        self, channel: Channel, service: str, changed: threading.Condition, on_cancel: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.ready: deque[Delivery] = deque()  # guarded by `changed`
        self.consuming = False
        self.delivered = 0  # so far
        self._service = service
        self._changed = changed
        self._on_cancel = on_cancel
        self._tags: dict[str, str] = {}  # of what consumes, by queue
        self._unsettled: dict[int, None] = {}  # in order of delivery; on the link's thread
        self._lock = threading.Lock()
        self._settled: set[int] = set()
        self._holding = self._retired = False
        channel.tell(lambda raw: raw.add_on_cancel_callback(lambda _: self._on_cancelled(raw)))
        channel.when_lost(self._on_lost)

    @property
    def unsettled(self) -> int:
        """How many deliveries are not settled."""
        return len(self._unsettled)

    @property
    def active(self) -> bool:
        """Whether messages flow."""
        return self.consuming and not self.channel.gone.is_set()

    def consume(self, shares: Mapping[str, int]) -> None:
        """Starts the flow from each queue, of at most so many unsettled deliveries."""
        for queue, prefetch in shares.items():
            self.channel.ask(partial(self._consume, queue, prefetch))
        self.consuming = True

    def get(self, queue: str) -> Delivery | None:
        """One message of `queue`, if there is one, without a flow."""
        if not self.ready:  # else one came after its time
            self.channel.ask(partial(self._get, queue))
        with self._changed:
            return self.ready.popleft() if self.ready else None

    def cancel(self) -> Sequence[Delivery]:
        """Ends the flow for good; gives what nobody has taken. The channel closes once all is settled.

        A quorum queue takes what it delivers while it is cancelled for delivered, and no client sees it. So
        acks, which would call for more, are held back, and a `get`, which the queue works on after all that
        came before, waits for what is under way. What it may bring is a delivery like the others.
        """
        with self._lock:
            self._holding = True
        try:
            for queue, tag in self._tags.items():
                self.channel.ask(partial(self._get, queue), CLOSE_TIMEOUT)
                self.channel.ask(partial(self._cancel, tag), CLOSE_TIMEOUT)
        finally:
            self.consuming = False
            with self._lock:
                self._holding, self._retired = False, True
                self.channel.link.submit(self._flush)
        with self._changed:
            untaken = list(self.ready)
            self.ready.clear()
        return untaken

    def ack(self, tags: Iterable[int]) -> None:
        """Acks; calls that come close together leave as one write."""
        with self._lock:
            waiting = bool(self._settled) or self._holding
            self._settled.update(tags)
            if not waiting:
                self.channel.link.submit(self._flush)

    # --- on the link's thread ------------------------------------------------------------------------------

    def _consume(self, queue: str, prefetch: int, raw: Any, reply: Reply) -> None:
        raw.basic_qos(prefetch_count=prefetch)
        self._tags[queue] = raw.basic_consume(queue, partial(self._on_message, queue), callback=reply.give)

    def _get(self, queue: str, raw: Any, reply: Reply) -> None:
        def got(*message: Any) -> None:
            self._on_message(queue, *message)
            reply.give()

        raw.add_callback(lambda _: reply.give(), [pika.spec.Basic.GetEmpty])
        raw.basic_get(queue, got)

    def _cancel(self, tag: str, raw: Any, reply: Reply) -> None:
        raw.basic_cancel(tag, callback=reply.give)
        # pika rejects what comes between here and the answer, and that would count as a delivery.
        raw._cancelled.discard(tag)

    def _flush(self) -> None:
        with self._lock:
            settled, self._settled = self._settled, set()
        if self.channel.gone.is_set() or not self.channel.raw.is_open:
            return
        upto, single = acknowledgements(self._unsettled, settled)
        with self.channel.link.corked():
            if upto:
                self.channel.raw.basic_ack(upto, multiple=True)
            for tag in single:
                self.channel.raw.basic_ack(tag)
        for tag in settled:
            self._unsettled.pop(tag, None)
        if self._retired and not self._unsettled:
            self.channel.raw.close()

    def _on_message(self, queue: str, _: object, method: Any, properties: Any, body: bytes) -> None:
        tag = method.delivery_tag
        self.delivered += 1
        self._unsettled[tag] = None
        headers = properties.headers or {}
        suspect = queue == catalog.dead_queue(self._service)
        delivery = Delivery(
            service=self._service,
            body=body,
            attempt=_count(headers, ATTEMPT),
            token=Token(subscription=self, tag=tag, queue=queue, headers=headers),
            redelivered=suspect or method.redelivered or REDELIVERED in headers,
            undeliverable=suspect and _count(headers, DELIVERIES) >= TRIALS,
        )
        with self._changed:
            self.ready.append(delivery)
            self._changed.notify()

    def _on_cancelled(self, raw: Any) -> None:
        """The broker ended the flow: the queue was deleted, or moved to another node."""
        self._on_cancel()
        raw.close()

    def _on_lost(self) -> None:
        """Nothing of it can be settled any more."""
        reason, code = self.channel.lost or ("", 0)
        if code and self.consuming:
            log.warning("%s: the broker ended consuming, it starts anew: %s", self._service, reason)
        with self._changed:
            self.ready.clear()
            self._changed.notify_all()


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """Which delivery of which subscription: a tag means nothing on another channel."""

    subscription: Subscription
    tag: int
    queue: str
    headers: Mapping[str, object]


def token(delivery: Delivery) -> Token:
    """The token, which must be one of ours."""
    if not isinstance(delivery.token, Token):
        raise TypeError(f"a delivery of another broker: {delivery.token!r}")
    return delivery.token


def renewed(delivery: Delivery, lifetime: float | None = None) -> Message:
    """The same message for the same queue, with a delivery count of its own."""
    own = token(delivery)
    headers = {name: value for name, value in own.headers.items() if name not in _NOT_KEPT}
    return Message(
        targets=((delivery.service, own.queue),),
        body=delivery.body,
        headers={**headers, REDELIVERED: 1} if delivery.redelivered else headers,
        lifetime=lifetime,
    )


def acknowledgements(unsettled: Iterable[int], settled: Collection[int]) -> tuple[int, list[int]]:
    """The tag up to which everything is settled (0: none), and the settled tags after it.

    `unsettled` are tags in order of delivery; a tag that is not among them is left out.
    """
    upto, single, whole = 0, [], True
    for tag in unsettled:
        whole = whole and tag in settled
        if whole:
            upto = tag
        elif tag in settled:
            single.append(tag)
    return upto, single


def _count(headers: Mapping[str, object], name: str) -> int:
    found = headers.get(name)
    return int(found) if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
