"""The one place that settles: what was handled is written in one transaction, what follows is published, and
only then are the messages acked."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TypeVar

from windmill.attempting import Attempts, dead
from windmill.core import retrying
from windmill.errors import BrokerError, ConfigError, StoreUnavailable, WindmillError
from windmill.middleware.base import Middleware
from windmill.model import Ack, Again, Bury, Dispatch, Handled, Outcome, Settlement
from windmill.plain import line
from windmill.ports import Consumer, Publisher
from windmill.writing import Writer

log = logging.getLogger(__name__)

Result = TypeVar("Result")

BATCH = 100  # outcomes in one transaction at most
_GATHERING = 0.02  # seconds in which a batch gathers where outcomes come fast
_GLANCES = 4  # in that time, at whether more has come
_FAST = 500.0  # outcomes per second: ten in that time
_POLL = 0.2  # seconds between looks at the stop signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """Batches that are worth a wait: of `most()` outcomes, or of what comes within `seconds` of the first."""

    most: Callable[[], int]
    seconds: float


class Committer:
    """Takes what is handled, a batch at a time: the busier, the larger (ADR 2); or as a `gathering` says."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        publisher: Publisher,
        write: Writer,
        attempts: Attempts,
        middleware: Sequence[Middleware] = (),
        gathering: Gathering | None = None,
    ) -> None:
        self.flowing = Flow()
        self.hurried = threading.Event()  # while it is set, nothing is gathered
        self._consumer = consumer
        self._publisher = publisher
        self._write = write
        self._attempts = attempts
        self._middleware = middleware
        self._gathering = gathering
        self._ready: SimpleQueue[Handled | None] = SimpleQueue()
        self._out_of_time = threading.Event()
        self._tempo = Tempo()
        self._received = self._settled = 0  # so far
        self._ended = False
        self._progress = threading.Condition()

    def put(self, handled: Handled) -> None:
        self._ready.put(handled)

    def end(self) -> None:
        """Has `run` return once what came before is committed."""
        self._ready.put(None)

    def give_up(self) -> None:
        """Has it wait no longer for a store or a broker that is away."""
        self._out_of_time.set()

    def await_settled(self, count: int, timeout: float) -> bool:
        """Waits until so many have been settled in all, or it has ended; whether they have been."""
        with self._progress:
            self._progress.wait_for(lambda: self._settled >= count or self._ended, timeout)
            return self._settled >= count

    @property
    def handled(self) -> int:
        """How many it was given in all, settled or not."""
        return self._received + self._ready.qsize()

    def run(self) -> None:
        """Commits until `end`. Raises `ConfigError`, and what it cannot settle in any way."""
        try:
            self._commit_all()
        finally:
            self._note(settled=0, ended=True)

    def _commit_all(self) -> None:
        last = False
        while not last:
            entries = self._gathered()
            last = None in entries
            batch = [entry for entry in entries if entry is not None]
            if batch:
                self._commit(batch)
            self._note(settled=len(batch))

    def _gathered(self) -> list[Handled | None]:
        """All that is ready, once there is any; of many that come fast, those of some milliseconds."""
        entries = [self._next()]
        if self._gathering is not None:
            self._fill(entries, self._gathering)
            return entries
        if self._tempo.fast:
            self._gather()
        while len(entries) < BATCH and not self._ready.empty():
            entries.append(self._next())
        self._tempo.note(len(entries), time.monotonic())
        return entries

    def _next(self) -> Handled | None:
        entry = self._ready.get()
        self._received += entry is not None
        return entry

    def _fill(self, entries: list[Handled | None], gathering: Gathering) -> None:
        """Adds what comes until there is enough, or time is over; the end is the last to come."""
        until = time.monotonic() + gathering.seconds
        while entries[-1] is not None and len(entries) < gathering.most():
            left = 0.0 if self.hurried.is_set() else max(0.0, until - time.monotonic())
            try:
                entry = self._ready.get(timeout=min(left, _POLL))
            except Empty:
                if not left:
                    return
            else:
                self._received += entry is not None
                entries.append(entry)

    def _gather(self) -> None:
        """Until a batch is full, or nothing more comes, or time is over."""
        for _ in range(_GLANCES):
            before = self._ready.qsize()
            if before >= BATCH - 1 or self._out_of_time.wait(_GATHERING / _GLANCES):
                return
            if self._ready.qsize() == before:
                return

    def _note(self, *, settled: int, ended: bool = False) -> None:
        with self._progress:
            self._settled += settled
            self._ended = ended
            self._progress.notify_all()

    def _commit(self, batch: Sequence[Handled]) -> None:
        """Commits and settles `batch`; if it is refused, one by one, so that one bad row costs one row."""
        try:
            outcomes = self._patiently(lambda again: self._write(_begun(batch) if again else batch))
            if outcomes is None:
                return
            followers = [follower for outcome in outcomes for follower in outcome.followers]
            settled = self._patiently(lambda _: self._pass_on(followers, batch))
        except ConfigError:
            raise  # no job's fault, and no job's end: this worker cannot work
        except Exception as error:  # noqa: BLE001 -- the one place that settles must not die of a job
            self._refuse(batch, error)
        else:
            if settled is not None:
                self._tell(batch)

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
        resumed = self.flowing.open()
        for middleware in self._middleware:
            if resumed:
                middleware.resumed()
            for handled in batch:
                middleware.settled(handled)

    def _refuse(self, batch: Sequence[Handled], error: Exception) -> None:
        batch = _begun(batch)  # its rows may be there, and what follows not sent
        if len(batch) > 1:
            for handled in batch:
                self._commit([handled])
            return
        (one,) = batch
        if not isinstance(error, WindmillError):
            log.error("%s: nobody foresaw this", one.delivery.service, exc_info=error)
        if one.error is None:
            self._commit([self._attempts.judge(one.delivery, one.job, error)])
        elif isinstance(one.decision, Again) and one.outcome.rows:  # the ledger has no place for it any more
            self._commit([replace(one, outcome=Outcome())])
        elif len(one.outcome.rows) > 1:  # not even its failure can be written: set the message aside
            bury = Bury(error=type(error).__name__, reason=line(error))
            rows = (dead(one.delivery, one.job, error),)
            self._commit([replace(one, outcome=Outcome(rows=rows), decision=bury)])
        else:
            raise error  # a message that cannot be settled in any way: the broker has it still

    def _wait(self, error: WindmillError, failures: int) -> bool:
        """Waits for the store or the broker to come back; False when the worker is out of time."""
        if self.flowing.shut_now():
            for middleware in self._middleware:
                middleware.parked(str(error))
        return not self._out_of_time.wait(retrying.backoff(failures) * random.uniform(0.8, 1.2))  # noqa: S311


class Tempo:
    """Whether outcomes come so fast that fuller batches are worth some milliseconds: a transaction costs as
    much as the rows of ten jobs."""

    def __init__(self) -> None:
        self.fast = False
        self._since = 0.0

    def note(self, count: int, now: float) -> None:
        """That a batch of `count` begins its commit `now`, in seconds."""
        rate = count / max(now - self._since, 0.001)
        self.fast = rate > (_FAST / 2 if self.fast else _FAST)
        self._since = now


class Flow:
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
