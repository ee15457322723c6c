"""Sends what images lack to the queues of their services, and notes it."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from windmill.core.retrying import backoff
from windmill.errors import BrokerError
from windmill.model import Dispatch
from windmill.ports import DispatchLedger, Publisher
from windmill.progress import Meter

log = logging.getLogger(__name__)

WINDOW = 100  # images in one publish call: their confirms are awaited together
_ATTEMPTS = 8  # for one window, while the broker is away


@dataclass(slots=True)
class Sent:
    """What a run has sent so far."""

    images: int = 0
    services: Counter[str] = field(default_factory=Counter)

    def add(self, window: Sequence[Dispatch]) -> None:
        self.images += len(window)
        self.services.update(service for dispatch in window for service in dispatch.services)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be sent: which services, for which images; `delay` is in seconds between two images."""

    services: Sequence[str]
    group: str | None = None
    limit: int | None = None
    resume: bool = True
    delay: float = 0.0

    def missing(self, ledger: DispatchLedger) -> Iterator[Dispatch]:
        return ledger.missing(self.services, group=self.group, limit=self.limit, resume=self.resume)

    def count(self, ledger: DispatchLedger) -> int:
        return ledger.count_missing(self.services, group=self.group, limit=self.limit, resume=self.resume)


def produce(
    wanted: Wanted,
    ledger: DispatchLedger,
    publisher: Publisher,
    meter: Meter,
    stop: threading.Event,
    sent: Sent | None = None,
) -> Sent:
    """Sends until all is sent or `stop` is set; gives what was sent, and fills `sent` with it as it goes.

    A window is published first and noted after: whoever dies between the two sends it again next time,
    which costs work and loses nothing. Raises `BrokerError` when the broker stays away.
    """
    sent = Sent() if sent is None else sent
    for window in windows(wanted.missing(ledger), 1 if wanted.delay else WINDOW):
        moment = ledger.now()
        _publish(publisher, window, stop)
        ledger.record(window, sent=moment)
        sent.add(window)
        meter.update(sent.images)
        if stop.is_set() or (wanted.delay and stop.wait(wanted.delay)):
            break
    return sent


def windows(dispatches: Iterable[Dispatch], size: int) -> Iterator[Sequence[Dispatch]]:
    """`dispatches` in runs of `size`."""
    stream = iter(dispatches)
    while window := list(islice(stream, size)):
        yield window


def _publish(publisher: Publisher, window: Sequence[Dispatch], stop: threading.Event) -> None:
    for failures in range(1, _ATTEMPTS + 1):
        try:
            return publisher.publish(window)
        except BrokerError as error:
            if failures == _ATTEMPTS or stop.is_set():
                raise
            log.warning("%s; trying again (%d of %d)", error, failures, _ATTEMPTS - 1)
            stop.wait(backoff(failures, least=0.5) * random.uniform(0.8, 1.2))  # noqa: S311
    return None


def summary(sent: Sent, wanted: Wanted, groups: Mapping[str, int]) -> str:
    """What a person wants to know at the end of a run."""
    if sent.images:
        return f"sent {counts(sent)}"
    if not groups:
        return "there are no images yet: windmill ingest FOLDER --group NAME"
    count = groups[wanted.group] if wanted.group is not None else sum(groups.values())
    names = ", ".join(wanted.services)
    return f"nothing to send: all {count:,} images have, or wait for, {names} (--no-resume sends again)"


def counts(sent: Sent) -> str:
    """`2 images: blip 2, yolov8 1`."""
    each = ", ".join(f"{name} {count:,}" for name, count in sorted(sent.services.items()))
    return f"{sent.images:,} images: {each}" if each else "no image"
