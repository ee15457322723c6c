"""Queues are declared before their first use, once on each connection."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from windmill.errors import BrokerError, ConfigError
from windmill.rabbitmq import topology
from windmill.rabbitmq.channel import ChannelLost, Question, Reply
from windmill.rabbitmq.link import Link

PATIENCE = 15.0  # seconds to wait for the connection before an operation fails
REFUSED, MISSING, UNEQUAL = 403, 404, 406


class Declarer:
    """Declares what is missing and remembers it. Thread-safe."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._generation = 0
        self._known: set[str] = set()  # services

    def ensure(self, services: Iterable[str]) -> None:
        """Declares the queues of each service, unless this connection has.

        Raises `BrokerError`, and `ConfigError` where the broker refuses for a reason that stays.
        """
        with self._lock:
            self._link.await_open(PATIENCE)
            if self._generation != self._link.generation:
                self._generation, self._known = self._link.generation, set()
            missing = [service for service in services if service not in self._known]
            if missing:
                self._declare(dict(queue for one in missing for queue in topology.queues(one).items()))
                self._known.update(missing)

    def forget(self) -> None:
        """Has every queue declared anew."""
        self._generation = 0

    def _declare(self, queues: Mapping[str, topology.Arguments]) -> None:
        channel = self._link.channel(PATIENCE)
        *others, last = queues

        def declare(raw: Any, reply: Reply) -> None:
            for name in others:  # without waiting: the broker works in order, and the last answer says all
                raw.queue_declare(name, durable=True, arguments=queues[name])
            raw.queue_declare(last, durable=True, arguments=queues[last], callback=reply.give)

        try:
            channel.ask(declare)
        except ChannelLost as exc:
            raise refusal(exc, self._link.settings.queue_user) from exc
        finally:
            channel.close()


def counts(link: Link, queues: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Of each queue that exists the messages that wait and the consumers. Raises `BrokerError`."""
    found = {}
    channel = link.channel(0)
    try:
        for queue in queues:
            try:
                state = channel.ask(passive(queue)).method
                found[queue] = (state.message_count, state.consumer_count)
            except ChannelLost as exc:
                if exc.code != MISSING:
                    raise
                channel = link.channel(0)
    finally:
        channel.abandon()
    return found


def passive(queue: str) -> Question:
    """Asks how a queue is, without making it."""
    return lambda raw, reply: raw.queue_declare(queue, passive=True, callback=reply.give)


def refusal(lost: ChannelLost, user: str) -> BrokerError | ConfigError:
    """What it means that the broker ended a channel: a `ConfigError` for what does not pass by itself."""
    if lost.code == REFUSED:
        return ConfigError(f"QUEUE_USER: {user!r} lacks a permission: {lost}")
    if lost.code == UNEQUAL:
        return ConfigError(f"a queue exists with other arguments; delete it once it is empty: {lost}")
    return lost
