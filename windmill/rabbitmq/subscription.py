"""One channel that consumes one queue, and the acks of what it delivered."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from windmill import catalog
from windmill.model import Delivery
from windmill.rabbitmq.channel import CLOSE_TIMEOUT, Channel, Reply

log = logging.getLogger(__name__)

ATTEMPT = "x-windmill-attempt"  # carries `Delivery.attempt`
REDELIVERED = "x-windmill-redelivered"  # carries `Delivery.redelivered` to a message sent in place of another


class Subscription:
    """One channel that consumes one queue. Its deliveries can be settled as long as the channel lives."""

    def __init__(
        self, channel: Channel, service: str, changed: threading.Condition, on_cancel: Callable[[], None]
    ) -> None:
        self.channel = channel
        self.ready: deque[Delivery] = deque()  # guarded by `changed`
        self.consuming = False
        self._service = service
        self._changed = changed
        self._on_cancel = on_cancel
        self._tag = ""
        self._unsettled: dict[int, None] = {}  # in order of delivery; on the link's thread
        self._lock = threading.Lock()
        self._settled: set[int] = set()
        channel.when_lost(self._on_lost)

    @property
    def active(self) -> bool:
        """Whether messages flow."""
        return self.consuming and not self.channel.gone.is_set()

    def consume(self, prefetch: int) -> None:
        """Starts the flow, of at most `prefetch` unsettled deliveries."""
        queue = catalog.queue(self._service)

        def start(raw: Any, reply: Reply) -> None:
            raw.add_on_cancel_callback(lambda _: self._on_cancelled(raw))
            raw.basic_qos(prefetch_count=prefetch)
            self._tag = raw.basic_consume(queue, self._on_message, callback=reply.give)

        self.channel.ask(start)
        self.consuming = True

    def cancel(self) -> None:
        """Stops the flow."""
        self.channel.ask(lambda raw, reply: raw.basic_cancel(self._tag, callback=reply.give), CLOSE_TIMEOUT)
        self.consuming = False

    def ack(self, tags: Iterable[int]) -> None:
        """Acks; calls that come close together leave as one write."""
        with self._lock:
            waiting = bool(self._settled)
            self._settled.update(tags)
        if not waiting:
            self.channel.link.submit(self._flush)

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

    def _on_message(self, _: object, method: Any, properties: Any, body: bytes) -> None:
        tag = method.delivery_tag
        self._unsettled[tag] = None
        token = Token(subscription=self, tag=tag)
        headers = properties.headers or {}
        delivery = Delivery(
            service=self._service,
            body=body,
            attempt=_attempt(headers),
            token=token,
            redelivered=method.redelivered or REDELIVERED in headers,
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


def _attempt(headers: Mapping[str, object]) -> int:
    found = headers.get(ATTEMPT)
    return int(found) if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0
