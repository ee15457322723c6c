"""A broker inside this process, for tests and dry runs: what the real ones promise, without a server."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from windmill.core import wire
from windmill.core.reach import Reach
from windmill.core.retrying import DELIVERY_LIMIT, TRIALS
from windmill.model import Ack, Again, Delivery, Dispatch, QueueState, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    body: bytes
    attempt: int = 0
    unsettled: int = 0  # deliveries that ended without a settlement
    redelivered: bool = False

    @property
    def suspect(self) -> bool:
        return self.unsettled > DELIVERY_LIMIT

    @property
    def undeliverable(self) -> bool:
        return self.unsettled > DELIVERY_LIMIT + TRIALS


@dataclass(slots=True)
class _Queue:
    """Messages that wait, and messages that wait for their time."""

    ready: deque[_Message] = field(default_factory=deque)
    later: list[tuple[float, int, _Message]] = field(default_factory=list)  # a heap

    def ripen(self, now: float) -> None:
        """Moves what is due to the end of what waits."""
        while self.later and self.later[0][0] <= now:
            self.ready.append(heapq.heappop(self.later)[2])


class MemoryBroker:
    """A `ports.Broker`. Delays pass by `clock`; call `wake` after moving a clock of your own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.changed = threading.Condition()
        self._queues: defaultdict[str, _Queue] = defaultdict(_Queue)
        self._order = itertools.count()
        self._consumers: list[MemoryConsumer] = []

    def publish(
        self, dispatches: Sequence[Dispatch], *, doubtful: bool = False, stop: threading.Event | None = None
    ) -> None:
        """See `ports.Publisher`; this one never has to wait, so `stop` ends nothing."""
        del stop
        with self.changed:
            for dispatch in dispatches:
                message = _Message(body=wire.encode(dispatch.job), redelivered=doubtful)
                for service in dict.fromkeys(dispatch.services):
                    self._queues[service].ready.append(message)
            self.changed.notify_all()

    def consumer(self, service: str, reach: Reach) -> MemoryConsumer:
        """A consumer of the queue of `service`, with at most as many deliveries unsettled as `reach` says."""
        consumer = MemoryConsumer(self, service, reach)
        self._consumers.append(consumer)
        return consumer

    def queue_states(self, services: Iterable[str]) -> dict[str, QueueState]:
        """See `ports.Broker`."""
        with self.changed:
            return {service: self._state(service) for service in services}

    def census(self, service: str) -> Iterator[bytes]:
        """See `ports.Broker`."""
        with self.changed:
            queue = self._due(service)
            return iter([message.body for message in (*queue.ready, *(entry[2] for entry in queue.later))])

    def wake(self) -> None:
        """Has takers look at the clock again."""
        with self.changed:
            self.changed.notify_all()

    def close(self) -> None:
        """Closes all consumers."""
        for consumer in self._consumers:
            consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- for consumers ------------------------------------------------------------------------------------

    def take(self, service: str, limit: int) -> list[_Message]:
        """Up to `limit` of the messages that are due and not suspect."""
        return self._pick(service, limit, lambda message: not message.suspect)

    def take_suspect(self, service: str) -> _Message | None:
        """The first that is suspect."""
        return next(iter(self._pick(service, 1, lambda message: message.suspect)), None)

    def _pick(self, service: str, limit: int, wanted: Callable[[_Message], bool]) -> list[_Message]:
        ready = self._due(service).ready
        taken: list[_Message] = []
        left: list[_Message] = []
        while ready and len(taken) < limit:
            message = ready.popleft()
            (taken if wanted(message) else left).append(message)
        ready.extendleft(reversed(left))
        return taken

    def suspects(self, service: str) -> bool:
        """Whether there are messages that are suspect."""
        return any(message.suspect for message in self._due(service).ready)

    def wait(self, service: str, timeout: float) -> None:
        """Until something changes, or the next message is due; `changed` is held."""
        later = self._due(service).later
        until_next = max(0.0, later[0][0] - self._clock()) if later else timeout
        self.changed.wait(min(timeout, until_next))

    def put(self, service: str, message: _Message, decision: Ack | Again) -> None:
        """Does with a message what was decided."""
        with self.changed:
            if isinstance(decision, Again):
                due = self._clock() + decision.delay
                again = replace(message, attempt=decision.attempt, unsettled=0)
                heapq.heappush(self._queues[service].later, (due, next(self._order), again))
            self.changed.notify_all()

    def give_back(self, service: str, messages: Sequence[_Message]) -> None:
        """Puts what was not settled in front again."""
        with self.changed:
            for message in reversed(messages):
                again = replace(message, unsettled=message.unsettled + 1, redelivered=True)
                self._queues[service].ready.appendleft(again)
            self.changed.notify_all()

    def _state(self, service: str) -> QueueState:
        queue = self._due(service)
        consuming = sum(one.consuming and one.service == service for one in self._consumers)
        return QueueState(waiting=len(queue.ready), delayed=len(queue.later), consumers=consuming)

    def _due(self, service: str) -> _Queue:
        queue = self._queues[service]
        queue.ripen(self._clock())
        return queue


class MemoryConsumer:
    """A `ports.Consumer`. Thread-safe: the broker's lock is its own."""

    def __init__(self, broker: MemoryBroker, service: str, reach: Reach) -> None:
        self.service = service
        self._reach = reach
        self._broker = broker
        self._tokens = itertools.count()
        self._unsettled: dict[object, _Message] = {}
        self._paused = self._closed = False

    @property
    def consuming(self) -> bool:
        """Whether it takes from the queue."""
        return not (self._paused or self._closed)

    def take(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """See `ports.Consumer`."""
        deadline = time.monotonic() + timeout
        with self._broker.changed:
            self._broker.changed.wait_for(lambda: self._closed or not self._paused, timeout)
            while self.consuming:
                room = min(limit, self._reach.size - len(self._unsettled))
                messages = self._broker.take(self.service, room) if room > 0 else []
                left = deadline - time.monotonic()
                if messages or left <= 0:
                    return [self._delivery(message) for message in messages]
                self._broker.wait(self.service, left)
        return []

    def suspects(self) -> bool:
        """See `ports.Consumer`."""
        with self._broker.changed:
            return self._broker.suspects(self.service)

    def take_suspect(self) -> Delivery | None:
        """See `ports.Consumer`."""
        with self._broker.changed:
            message = self._broker.take_suspect(self.service)
            return None if message is None else self._delivery(message)

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `ports.Consumer`."""
        with self._broker.changed:
            for one in settlements:
                message = self._unsettled.pop(one.delivery.token, None)
                if message is not None:
                    self._broker.put(self.service, message, one.decision)

    def depth(self) -> int:
        """See `ports.Consumer`."""
        return self._broker.queue_states([self.service])[self.service].waiting

    def pause(self) -> None:
        """See `ports.Consumer`."""
        self._paused = True
        self._broker.wake()

    def resume(self) -> None:
        """See `ports.Consumer`."""
        self._paused = False
        self._broker.wake()

    def close(self) -> None:
        """See `ports.Consumer`."""
        self._closed = True
        self._broker.wake()
        with self._broker.changed:
            unsettled, self._unsettled = list(self._unsettled.values()), {}
            self._broker.give_back(self.service, unsettled)

    def _delivery(self, message: _Message) -> Delivery:
        token = (id(self), next(self._tokens))
        self._unsettled[token] = message
        return Delivery(
            service=self.service,
            body=message.body,
            attempt=message.attempt,
            token=token,
            redelivered=message.redelivered,
            undeliverable=message.undeliverable,
        )
