"""One worker's corridor: bytes → Job → handler → Outcome → commit → publish → ack.

Threads handle what is delivered (`attempting`). One more, the committer, takes whatever is handled, writes it
in one transaction, publishes what follows, and only then settles the messages (`committing`). What dies on
the way is delivered again, and everything on the way can be done twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from windmill.attempting import Attempts
from windmill.committing import BATCH, Committer, Gathering
from windmill.errors import BrokerError
from windmill.handlers.base import Handler
from windmill.hands import Hands
from windmill.middleware.base import Middleware
from windmill.model import Delivery
from windmill.ports import Consumer, Gate, Publisher
from windmill.writing import Writer

log = logging.getLogger(__name__)

_LAST_COMMIT = 2.0  # seconds that the committer gets at least
_POLL = 0.2  # seconds between looks at the stop signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`concurrency` handler threads (0: all is done in the commit), `max_retries` after the first attempt,
    `grace` seconds to finish."""

    concurrency: int
    max_retries: int
    grace: float


class Runner:
    """Runs one worker until `stop` is set."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        publisher: Publisher,
        handler: Handler,
        write: Writer,
        limits: Limits,
        stop: threading.Event,
        gates: Sequence[Gate] = (),
        middleware: Sequence[Middleware] = (),
        gathering: Gathering | None = None,
    ) -> None:
        self._consumer = consumer
        self._limits = limits
        self._stop = stop
        self._attempt = Attempts(handler=handler, max_retries=limits.max_retries)
        self._committer = Committer(
            consumer=consumer,
            publisher=publisher,
            write=write,
            attempts=self._attempt,
            middleware=middleware,
            gathering=gathering,
        )
        self._gates = (self._committer.flowing, *gates)
        self._taken = 0  # so far
        self._last_moment = 0.0  # by the monotonic clock

    def run(self) -> int:
        """Works until `stop`; gives the number of jobs that the grace time did not suffice for.

        Those, and whatever else is not settled, go back to the queue. Raises what the committer died of,
        should it die.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="committer") as own:
            committing = own.submit(self._committer.run)
            committing.add_done_callback(lambda _: self._stop.set())  # wherever the worker waits
            try:
                return self._work_until_stopped()
            finally:
                self._committer.end()
                self._await_last_commit(committing)

    def _work_until_stopped(self) -> int:
        """Gives how many jobs the grace time did not suffice for."""
        hands = Hands(self._limits.concurrency, self._handle, self._stop.set)
        unfinished = 1  # or more, should something be raised
        try:
            self._take_until_stopped(hands)
            self._committer.hurried.set()
            self._last_moment = time.monotonic() + self._limits.grace
            self._committer.await_settled(self._taken, self._limits.grace)
            unfinished = self._taken - self._committer.handled
        finally:
            hands.close(wait=not unfinished)
        return unfinished

    def _await_last_commit(self, committing: Future[None]) -> None:
        """Lets the committer finish, within what is left should the store or the broker be away."""
        left = max(_LAST_COMMIT, self._last_moment - time.monotonic())
        deadline = threading.Timer(left, self._committer.give_up)
        deadline.start()
        try:
            committing.result()
        finally:
            deadline.cancel()

    def _handle(self, delivery: Delivery) -> None:
        self._committer.put(self._attempt(delivery))

    def _take_until_stopped(self, hands: Hands) -> None:
        while not self._stop.is_set():
            self._pass_gates()
            if self._consumer.suspects():
                self._try_suspects(hands)
            room = hands.room(BATCH, _POLL)
            self._hand_in(self._consumer.take(room, _POLL if room else 0), hands)
        self._consumer.pause()

    def _hand_in(self, deliveries: Sequence[Delivery], hands: Hands) -> None:
        self._taken += len(deliveries)
        hands.give(deliveries)

    def _try_suspects(self, hands: Hands) -> None:
        """Tries what may have killed workers with nothing else in hand: who dies now dies of it alone."""
        self._consumer.pause()
        self._committer.hurried.set()
        try:
            self._await_empty_hands()
            while not self._stop.is_set() and (suspect := self._consumer.take_suspect()) is not None:
                self._hand_in([suspect], hands)
                self._await_empty_hands()
        except BrokerError as error:
            log.info("what may have killed workers is left for later: %s", error)
        self._committer.hurried.clear()
        self._consumer.resume()

    def _await_empty_hands(self) -> None:
        """Until all that was taken is settled, or the worker is to end."""
        while not self._stop.is_set() and not self._committer.await_settled(self._taken, _POLL):
            pass

    def _pass_gates(self) -> None:
        """Takes nothing while something is down that every job needs."""
        for gate in self._gates:
            if gate.shut and not self._stop.is_set():
                self._consumer.pause()
                gate.wait(self._stop)
                self._consumer.resume()
