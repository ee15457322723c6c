"""Messages into queues, with a confirm for each."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pika

from windmill.errors import BrokerError
from windmill.rabbitmq.channel import Channel, Reply
from windmill.rabbitmq.declaring import PATIENCE, Declarer
from windmill.rabbitmq.link import Link

WINDOW = 200  # messages in one write; two windows may lack their confirms at a time
CONFIRM_TIMEOUT = 60.0  # seconds for a window; a quorum queue without a majority confirms nothing
_LOOK = 0.2  # seconds between looks at an alarm and at the stop signal


Target = tuple[str, str]  # a service and the name of one of its queues


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One body for one queue or more: RabbitMQ copies it by the `CC` header.

    `lifetime` is in seconds; a retry queue passes a message on after that, or after its own step.
    """

    targets: tuple[Target, ...]
    body: bytes
    headers: Mapping[str, object] = field(default_factory=dict)
    lifetime: float | None = None


class Patience:
    """How long a sender waits: `confirm` seconds for each window, and `alarm` seconds while the broker takes
    no messages, or until `stop` is set. What is behind an alarm is not lost, so it is not sent again."""

    def __init__(
        self,
        *,
        confirm: float | None = None,
        alarm: float | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._confirm = CONFIRM_TIMEOUT if confirm is None else confirm
        self._alarm = self._confirm if alarm is None else alarm
        self._stop = stop or threading.Event()

    def wait_while_blocked(self, link: Link) -> None:
        """Returns once the broker takes messages. Raises `BrokerError`."""
        deadline = time.monotonic() + self._alarm
        while not link.wait_unblocked(_LOOK):
            self._check(deadline)

    def await_confirms(self, link: Link, window: Reply) -> None:
        """Returns once `window` is confirmed; the clock of the confirms stands still during an alarm."""
        deadline = time.monotonic() + self._confirm
        while not window.settled_within(_LOOK):
            if link.blocked:
                self.wait_while_blocked(link)
                deadline = time.monotonic() + self._confirm
            elif time.monotonic() > deadline:
                raise BrokerError(f"RabbitMQ did not confirm messages for {self._confirm:g} s")
        window.wait(0)

    def _check(self, deadline: float) -> None:
        if self._stop.is_set() or time.monotonic() > deadline:
            raise BrokerError("RabbitMQ takes no messages for now: it is short of memory or disk")


class Sender:
    """Publishes with confirms, on a channel of its own. Thread-safe."""

    def __init__(self, link: Link, declarer: Declarer) -> None:
        self._link = link
        self._declarer = declarer
        self._lock = threading.Lock()
        self._confirms: _Confirms | None = None

    def send(self, messages: Sequence[Message], patience: Patience | None = None) -> None:
        """Returns once the broker has confirmed all. Raises `BrokerError`, or `ConfigError`.

        The channel is there before the queues are declared, so that a broker that restarts empty in between
        fails the publish: a copy to a queue that does not exist is confirmed, and lost.
        """
        patience = patience or Patience()
        patience.wait_while_blocked(self._link)
        confirms = self._ready()
        self._declarer.ensure({service for message in messages for service, _ in message.targets})
        flying: deque[Reply] = deque()
        for start in range(0, len(messages), WINDOW):
            flying.append(confirms.post(messages[start : start + WINDOW]))
            if len(flying) > 1:
                patience.await_confirms(self._link, flying.popleft())
        for window in flying:
            patience.await_confirms(self._link, window)

    def _ready(self) -> _Confirms:
        with self._lock:
            if self._confirms is None or self._confirms.channel.gone.is_set():
                self._confirms = _Confirms(self._link.channel(PATIENCE), self._declarer.forget)
            return self._confirms


class _Confirms:
    """A channel in confirm mode, and its publishes that lack their confirm."""

    def __init__(self, channel: Channel, on_return: Callable[[], None]) -> None:
        self.channel = channel
        self._on_return = on_return
        self._tag = 0
        self._missing: OrderedDict[int, _Window] = OrderedDict()  # by delivery tag
        channel.ask(self._select)

    def post(self, messages: Sequence[Message]) -> Reply:
        """Publishes; the reply comes when all are confirmed, and fails as soon as one is not."""
        return self.channel.post(lambda raw, reply: self._publish(raw, messages, reply))

    def _select(self, raw: Any, reply: Reply) -> None:
        raw.add_on_return_callback(self._on_returned)
        raw.confirm_delivery(self._on_confirm, callback=reply.give)

    def _publish(self, raw: Any, messages: Sequence[Message], reply: Reply) -> None:
        window = _Window(len(messages), reply)
        with self.channel.link.corked():
            for message in messages:
                self._tag += 1
                self._missing[self._tag] = window
                queue = message.targets[0][1]
                raw.basic_publish("", queue, message.body, _properties(message), mandatory=True)

    def _on_confirm(self, frame: Any) -> None:
        accepted = isinstance(frame.method, pika.spec.Basic.Ack)
        for window in self._settled(frame.method.delivery_tag, frame.method.multiple):
            window.missing -= 1
            if not accepted:
                window.reply.fail(BrokerError("RabbitMQ refused a message"))
            elif window.missing == 0:
                window.reply.give()

    def _settled(self, tag: int, multiple: bool) -> list[_Window]:
        if not multiple:
            return [self._missing.pop(tag)]
        found = []
        while self._missing and next(iter(self._missing)) <= tag:
            found.append(self._missing.popitem(last=False)[1])
        return found

    def _on_returned(self, _: object, method: Any, *__: object) -> None:
        """No queue took a message. Which one is not said, so that all that are under way count as failed."""
        self._on_return()
        for window in set(self._missing.values()):
            window.reply.fail(BrokerError(f"RabbitMQ has no queue {method.routing_key} any more"))


@dataclass(slots=True, eq=False)
class _Window:
    """Messages published together: how many lack their confirm, and who waits for them."""

    missing: int
    reply: Reply


def _properties(message: Message) -> Any:
    copies = [queue for _, queue in message.targets[1:]]
    return pika.BasicProperties(
        headers={**message.headers, "CC": copies} if copies else dict(message.headers),
        delivery_mode=2,
        content_type="application/json",
        expiration=None if message.lifetime is None else str(math.ceil(message.lifetime * 1000)),
    )
