"""Sends what the ledger says is to be sent, at the pace that the queues allow."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from windmill import catalog
from windmill.core.retrying import backoff
from windmill.errors import BrokerError, StoreUnavailable
from windmill.model import Dispatch, Missing, Selection
from windmill.ports import Broker, Ledger
from windmill.progress import Meter

log = logging.getLogger(__name__)

WINDOW = 500  # dispatches in one publish call: they wait for their confirms together, and are noted together
_FIRST_ATTEMPTS = 8  # for the first window, while the broker or the database is away: it may be a wrong name
_ATTEMPTS = 100  # for one that comes later: the better part of an hour
_LOOK = 1.0  # seconds between looks at queues that are full


@dataclass(slots=True)
class Sent:
    """What a run has sent so far; `dispatches` are images, or boxes where it is boxes that were sent."""

    dispatches: int = 0
    services: Counter[str] = field(default_factory=Counter)

    def add(self, window: Sequence[Dispatch]) -> None:
        self.dispatches += len(window)
        self.services.update(service for dispatch in window for service in dispatch.services)

    def number(self, unit: str) -> int:
        """How many `images` or `jobs`: an image that went to three services is three jobs."""
        return self.dispatches if unit == "images" else self.services.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast and how much: `delay` in seconds after each image, `limit` dispatches in all (None: no limit).

    It holds while a queue has `max_queue_depth` jobs. `doubtful`: what is sent may be a second copy.
    """

    max_queue_depth: int
    limit: int | None = None
    delay: float = 0.0
    doubtful: bool = False

    def window(self, sent: int) -> int:
        """How many dispatches may go together, after `sent`."""
        left = WINDOW if self.limit is None else self.limit - sent
        return min(1 if self.delay else WINDOW, left)


class Valve:
    """Holds while a queue is deeper than `limit`: what waits there fills the broker's disk for nothing."""

    def __init__(self, broker: Broker, services: Sequence[str], limit: int) -> None:
        self._broker = broker
        self._services = services
        self._limit = limit
        self._room = 0

    def room(self, wanted: int, stop: threading.Event) -> int:
        """How many dispatches may go now, at most `wanted`; waits for room for one, or for `stop` (0)."""
        told = False
        while self._room < 1 and not stop.is_set():
            name, depth = self._deepest()
            self._room = self._limit - depth
            if self._room < 1:
                if not told:
                    log.info("holding: %s has %s jobs (MAX_QUEUE_DEPTH)", catalog.queue(name), f"{depth:,}")
                told = True
                stop.wait(_LOOK)
        allowed = max(0, min(wanted, self._room))
        self._room -= allowed
        return allowed

    def _deepest(self) -> tuple[str, int]:
        states = self._broker.queue_states(self._services)
        return max(((name, state.waiting) for name, state in states.items()), key=lambda pair: pair[1])


class Producer:
    """Sends one selection, window after window; `sent` says how far it is.

    It holds for the queues of `services`, all of the selection's if that is not said.
    """

    def __init__(
        self,
        selection: Selection,
        ledger: Ledger,
        broker: Broker,
        pace: Pace,
        stop: threading.Event,
        *,
        services: Sequence[str] = (),
    ) -> None:
        self.sent = Sent()
        self._selection = selection
        self._ledger = ledger
        self._publish = partial(broker.publish, doubtful=pace.doubtful, stop=stop)
        self._valve = Valve(broker, services or selection.services, pace.max_queue_depth)
        self._pace = pace
        self._stop = stop
        self._after = 0

    def run(self, meter: Meter) -> Sent:
        """Sends until all is sent or `stop` is set; gives what was sent.

        Raises `BrokerError` or `StoreUnavailable` when the broker or the database stays away.
        """
        while (most := self._pace.window(self.sent.dispatches)) and (window := self._patiently(most)):
            self.sent.add(window)
            meter.update(self.sent.number(unit_of(self._selection)))
            if self._stop.is_set() or (self._pace.delay and self._stop.wait(self._pace.delay)):
                break
        return self.sent

    def _patiently(self, most: int) -> Sequence[Dispatch]:
        """The next window, once the broker and the database are there to take it."""
        attempts = _ATTEMPTS if self.sent.dispatches else _FIRST_ATTEMPTS
        failures = 0
        while True:
            try:
                return self._next(most)
            except (BrokerError, StoreUnavailable) as error:
                failures += 1
                if failures == attempts or self._stop.is_set():
                    raise
                log.warning("%s; trying again (%d of %d)", error, failures, attempts - 1)
                self._stop.wait(backoff(failures, least=0.5) * random.uniform(0.8, 1.2))  # noqa: S311

    def _next(self, most: int) -> Sequence[Dispatch]:
        """Sends up to `most` dispatches and gives them; none at the end, or once `stop` is set."""
        room = self._valve.room(most, self._stop)
        if room == 0:
            return ()
        window, self._after = self._ledger.send(self._selection, self._publish, after=self._after, limit=room)
        return window


def unit_of(selection: Selection) -> str:
    """What is counted while a selection is sent: what a person asked for."""
    return "images" if isinstance(selection, Missing) else "jobs"


def summary(sent: Sent, wanted: Missing, groups: Mapping[str, int]) -> str:
    """What a person wants to know at the end of a run of the producer."""
    if sent.dispatches:
        return f"sent {counts(sent)}"
    if not groups:
        return "there are no images yet: windmill ingest FOLDER --group NAME"
    count = groups[wanted.group] if wanted.group is not None else sum(groups.values())
    names = ", ".join(wanted.services)
    return f"nothing to send: all {count:,} images have, or wait for, {names} (--no-resume sends again)"


def counts(sent: Sent, unit: str = "images") -> str:
    """`2 images: blip 2, yolov8 1`."""
    each = ", ".join(f"{name} {count:,}" for name, count in sorted(sent.services.items()))
    return f"{sent.number(unit):,} {unit}: {each}" if each else "nothing"
