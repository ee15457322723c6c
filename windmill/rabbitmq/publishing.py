"""Messages into queues, with a confirm for each."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pika

from windmill.errors import BrokerError
from windmill.rabbitmq.channel import Channel, Reply
from windmill.rabbitmq.declaring import PATIENCE, Declarer, Target
from windmill.rabbitmq.link import Link

WINDOW = 200  # messages in one write; two windows may lack their confirms at a time
CONFIRM_TIMEOUT = 60.0  # seconds for a window; a quorum queue without a majority confirms nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One body for one queue or more: RabbitMQ copies it by the `CC` header."""

    targets: tuple[Target, ...]
    body: bytes
    headers: Mapping[str, str | int] = field(default_factory=dict)


class Sender:
    """Publishes with confirms, on a channel of its own. Thread-safe."""

    def __init__(self, link: Link, declarer: Declarer) -> None:
        self._link = link
        self._declarer = declarer
        self._lock = threading.Lock()
        self._confirms: _Confirms | None = None

    def send(self, messages: Sequence[Message], timeout: float = CONFIRM_TIMEOUT) -> None:
        """Returns once the broker has confirmed all. Raises `BrokerError`, or `ConfigError`.

        `timeout`, in seconds, is for each window. The channel is there before the queues are declared, so
        that a broker that restarts empty in between fails the publish: a copy to a queue that does not
        exist is confirmed, and lost.
        """
        confirms = self._ready()
        self._declarer.ensure({target for message in messages for target in message.targets})
        flying: deque[Reply] = deque()
        for start in range(0, len(messages), WINDOW):
            flying.append(confirms.post(messages[start : start + WINDOW]))
            if len(flying) > 1:
                flying.popleft().wait(timeout)
        for window in flying:
            window.wait(timeout)

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
                (_, queue), *copies = message.targets
                properties = _properties(message.headers, [name for _, name in copies])
                raw.basic_publish("", queue, message.body, properties, mandatory=True)

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


def _properties(headers: Mapping[str, str | int], copies: Sequence[str]) -> Any:
    table = {**headers, "CC": list(copies)} if copies else dict(headers)
    return pika.BasicProperties(headers=table, delivery_mode=2, content_type="application/json")
