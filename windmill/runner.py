"""One worker's corridor: bytes → Job → handler → Outcome → commit → publish → ack.

A pool of threads runs handlers. One more thread, the committer, takes whatever is handled, writes it in one
transaction, publishes what follows, and only then settles the messages. Whatever dies on the way is
delivered again, and everything on the way can be done twice.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from windmill.core import retrying, wire
from windmill.errors import (
    BrokerError,
    ConfigError,
    DeliveryLimit,
    MessageError,
    StoreUnavailable,
    WindmillError,
)
from windmill.handlers.base import Handler
from windmill.middleware.base import Middleware
from windmill.model import Ack, Again, Bury, DeadRow, Delivery, Dispatch, Handled, Job, Outcome, Settlement
from windmill.plain import line
from windmill.ports import Consumer, Gate, Publisher
from windmill.writing import Writer

log = logging.getLogger(__name__)

Result = TypeVar("Result")

BATCH = 100  # outcomes in one transaction at most
_LAST_COMMIT = 2.0  # seconds that the committer gets at least
_POLL = 0.2  # seconds between looks at the stop signal
_POISON = "handed out again and again, and no worker lived to settle it: it seems to kill them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`concurrency` handler threads, `max_retries` after the first attempt, `grace` seconds to finish."""

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
    ) -> None:
        self._consumer = consumer
        self._publisher = publisher
        self._handler = handler
        self._write = write
        self._limits = limits
        self._stop = stop
        self._committing = Committing()
        self._gates = (self._committing, *gates)
        self._middleware = middleware
        self._ready: queue.Queue[tuple[Delivery, Future[Handled]] | None] = queue.Queue()
        self._out_of_time = threading.Event()
        self._last_moment = 0.0  # by the monotonic clock

    def run(self) -> int:
        """Works until `stop`; gives the number of jobs that the grace time did not suffice for.

        Those, and whatever else is not settled, go back to the queue. Raises what the committer died of,
        should it die.
        """
        pool = ThreadPoolExecutor(self._limits.concurrency, thread_name_prefix="handler")
        with ThreadPoolExecutor(1, thread_name_prefix="committer") as own:
            committing = own.submit(self._commit_all)
            committing.add_done_callback(lambda _: self._stop.set())  # wherever the worker waits
            try:
                pending = self._take_until_stopped(pool)
                unfinished = self._finish(pool, pending)
            finally:
                self._ready.put(None)
            self._await_last_commit(committing)
        return unfinished

    def _finish(self, pool: ThreadPoolExecutor, pending: set[Future[Handled]]) -> int:
        """Waits for what is in hand, within the grace time; gives how many jobs it did not suffice for."""
        self._last_moment = time.monotonic() + self._limits.grace
        _, unfinished = wait(pending, timeout=self._limits.grace)
        pool.shutdown(wait=not unfinished, cancel_futures=True)
        return len(unfinished)

    def _await_last_commit(self, committing: Future[None]) -> None:
        """Lets the committer finish, within what is left should the store or the broker be away."""
        left = max(_LAST_COMMIT, self._last_moment - time.monotonic())
        deadline = threading.Timer(left, self._out_of_time.set)
        deadline.start()
        try:
            committing.result()
        finally:
            deadline.cancel()

    def _take_until_stopped(self, pool: ThreadPoolExecutor) -> set[Future[Handled]]:
        pending: set[Future[Handled]] = set()
        while not self._stop.is_set():
            self._pass_gates()
            if self._consumer.suspects():
                self._try_suspects(pool, pending)
            for delivery in self._consumer.take(BATCH, _POLL):
                self._hand_in(delivery, pool, pending)
        self._consumer.pause()
        return set(pending)

    def _hand_in(self, delivery: Delivery, pool: ThreadPoolExecutor, pending: set[Future[Handled]]) -> None:
        future = pool.submit(self._attempt, delivery)
        pending.add(future)
        future.add_done_callback(partial(self._hand_over, delivery))
        future.add_done_callback(pending.discard)  # now that it is among what is to be committed

    def _try_suspects(self, pool: ThreadPoolExecutor, pending: set[Future[Handled]]) -> None:
        """Tries what may have killed workers with nothing else in hand: who dies now dies of it alone."""
        self._consumer.pause()
        try:
            self._await_empty_hands(pending)
            while not self._stop.is_set() and (suspect := self._consumer.take_suspect()) is not None:
                self._hand_in(suspect, pool, pending)
                self._await_empty_hands(pending)
        except BrokerError as error:
            log.info("what may have killed workers is left for later: %s", error)
        self._consumer.resume()

    def _await_empty_hands(self, pending: set[Future[Handled]]) -> None:
        """Until all that was taken is settled, or the worker is to end."""
        while pending and not self._stop.is_set():
            wait(set(pending), _POLL)
        with self._ready.all_tasks_done:
            while self._ready.unfinished_tasks and not self._stop.is_set():
                self._ready.all_tasks_done.wait(_POLL)

    def _pass_gates(self) -> None:
        """Takes nothing while something is down that every job needs."""
        for gate in self._gates:
            if gate.shut and not self._stop.is_set():
                self._consumer.pause()
                gate.wait(self._stop)
                self._consumer.resume()

    def _hand_over(self, delivery: Delivery, future: Future[Handled]) -> None:
        self._ready.put((delivery, future))

    # --- in the pool ---------------------------------------------------------------------------------

    def _attempt(self, delivery: Delivery) -> Handled:
        started = time.perf_counter()
        job = None
        try:
            job = wire.decode(delivery.body)
            if delivery.undeliverable:
                raise DeliveryLimit(_POISON)
            outcome = self._handler(job)
        except WindmillError as error:
            handled = self._judge(delivery, job, error)
        else:
            handled = Handled(delivery=delivery, job=job, outcome=outcome, decision=Ack())
        return replace(handled, seconds=time.perf_counter() - started)

    def _judge(self, delivery: Delivery, job: Job | None, error: Exception) -> Handled:
        """What becomes of a delivery that met `error`, and the rows that say so."""
        jitter = random.uniform(0.75, 1)  # noqa: S311 -- not a secret
        decision = retrying.decide(error, delivery.attempt, self._limits.max_retries, jitter=jitter)
        outcome = Outcome()
        if isinstance(decision, Again) and job is not None:
            outcome = self._handler.postponed(job, error)
        elif isinstance(decision, Bury):
            outcome = self._given_up(delivery, job, error)
        return Handled(delivery=delivery, job=job, outcome=outcome, decision=decision, error=error)

    def _given_up(self, delivery: Delivery, job: Job | None, error: Exception) -> Outcome:
        has_row = job is not None and not isinstance(error, MessageError)
        rows = self._handler.failed(job, error).rows if job is not None and has_row else ()
        return Outcome(rows=(*rows, _dead(delivery, job, error)))

    # --- in the committer ----------------------------------------------------------------------------

    def _commit_all(self) -> None:
        last = False
        while not last:
            entries = [self._ready.get()]
            while len(entries) < BATCH and not self._ready.empty():
                entries.append(self._ready.get())
            last = None in entries
            batch = [handled for entry in entries if entry for handled in self._finished(*entry)]
            if batch:
                self._commit(batch)
            for _ in entries:
                self._ready.task_done()

    def _finished(self, delivery: Delivery, future: Future[Handled]) -> Iterator[Handled]:
        """The future's result; nothing if the worker stopped under it, for then the job goes back."""
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            yield future.result()
        elif isinstance(error, Exception):
            log.error("%s: nobody foresaw this", delivery.service, exc_info=error)
            yield self._judge(delivery, wire.decode(delivery.body), error)

    def _commit(self, batch: Sequence[Handled]) -> None:
        """Commits and settles `batch`; if it is refused, one by one, so that one bad row costs one row."""
        try:
            outcomes = self._patiently(lambda again: self._write(_begun(batch) if again else batch))
            if outcomes is None:
                return
            followers = [follower for outcome in outcomes for follower in outcome.followers]
            if self._patiently(lambda _: self._pass_on(followers, batch)) is not None:
                self._tell(batch)
        except ConfigError:
            raise  # no job's fault, and no job's end: this worker cannot work
        except Exception as error:  # noqa: BLE001 -- the one place that settles must not die of a job
            self._refuse(batch, error)

    def _patiently(self, act: Callable[[bool], Result]) -> Result | None:
        """What `act` gives once the store and the broker are there; None when the worker is out of time.

        It is told whether it is called again: what failed may have been done all the same.
        """
        failures = 0
        while True:
            try:
                return act(failures > 0)
            except (StoreUnavailable, BrokerError) as error:
                failures += 1
                if not self._wait(error, failures):
                    return None

    def _pass_on(self, followers: Sequence[Dispatch], batch: Sequence[Handled]) -> bool:
        self._publisher.publish(followers, stop=self._out_of_time)
        self._consumer.settle([_settlement(handled) for handled in batch])
        return True

    def _tell(self, batch: Sequence[Handled]) -> None:
        resumed = self._committing.open()
        for middleware in self._middleware:
            if resumed:
                middleware.resumed()
            for handled in batch:
                middleware.settled(handled)

    def _refuse(self, batch: Sequence[Handled], error: Exception) -> None:
        if len(batch) > 1:
            for handled in batch:
                self._commit([handled])
            return
        (one,) = batch
        if not isinstance(error, WindmillError):
            log.error("%s: nobody foresaw this", one.delivery.service, exc_info=error)
        if one.error is None:
            self._commit([self._judge(one.delivery, one.job, error)])
        elif isinstance(one.decision, Again) and one.outcome.rows:  # the ledger has no place for it any more
            self._commit([replace(one, outcome=Outcome())])
        elif len(one.outcome.rows) > 1:  # not even its failure can be written: set the message aside
            bury = Bury(error=type(error).__name__, reason=line(error))
            dead = Outcome(rows=(_dead(one.delivery, one.job, error),))
            self._commit([replace(one, outcome=dead, decision=bury)])
        else:
            raise error  # a message that cannot be settled in any way: the broker has it still

    def _wait(self, error: WindmillError, failures: int) -> bool:
        """Waits for the store or the broker to come back; False when the worker is out of time."""
        if self._committing.shut_now():
            for middleware in self._middleware:
                middleware.parked(str(error))
        return not self._out_of_time.wait(retrying.backoff(failures) * random.uniform(0.8, 1.2))  # noqa: S311


class Committing:
    """A `ports.Gate`: shut while nothing can be written, because the store or the broker is away."""

    def __init__(self) -> None:
        self._flowing = threading.Event()
        self._flowing.set()

    @property
    def shut(self) -> bool:
        return not self._flowing.is_set()

    def wait(self, stop: threading.Event) -> None:
        while not stop.is_set() and not self._flowing.wait(_POLL):
            pass

    def shut_now(self) -> bool:
        """Shuts it; whether it was open."""
        was_open = self._flowing.is_set()
        self._flowing.clear()
        return was_open

    def open(self) -> bool:
        """Opens it; whether it was shut."""
        was_shut = self.shut
        self._flowing.set()
        return was_shut


def _begun(batch: Sequence[Handled]) -> Sequence[Handled]:
    """As ones that were in hand before and perhaps written: what should follow is sent all the same."""
    return [replace(one, delivery=replace(one.delivery, redelivered=True)) for one in batch]


def _settlement(handled: Handled) -> Settlement:
    """What the broker is told: a job that was given up is in the database, and done with here."""
    decision = Ack() if isinstance(handled.decision, Bury) else handled.decision
    return Settlement(delivery=handled.delivery, decision=decision)


def _dead(delivery: Delivery, job: Job | None, error: Exception) -> DeadRow:
    return DeadRow(
        service=delivery.service,
        image_id=None if job is None else job.image.image_id,
        body=delivery.body,
        attempts=delivery.attempt + 1,
        error_class=type(error).__name__,
        error=line(error),
    )
