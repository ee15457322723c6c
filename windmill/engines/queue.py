"""The engine `queue`: the collection goes through the queues, to index workers on any number of boxes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from windmill import catalog
from windmill.engines.building import Built, Plan
from windmill.errors import ConfigError
from windmill.findings import Standing
from windmill.index.store import VectorStore
from windmill.ingesting import Admitted
from windmill.model import NewImage, State, TheseImages
from windmill.plain import line
from windmill.ports import Broker, ImageRegistry, TellingLedger
from windmill.producing import Pace, Producer
from windmill.progress import Meter, Mute

log = logging.getLogger(__name__)

_CHUNK = 2000  # images that are sent, and looked after, together
_LOOK = 0.5  # seconds between looks at the ledger
_REST = 9  # times as long as a look took: of millions of images, looks take a tenth of the time
_CALM = 15.0  # seconds without a worker after which it is said that there is none
NAMED = 1000  # images that failed which are told by name
_OPEN = (State.QUEUED, State.PARKED)

Admit = Callable[[str, Callable[[Sequence[int]], None]], Admitted]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the engine works with. `admit` puts a folder into the table of images, and tells the ids of each
    batch of them as it goes. `check` raises when something has died that was started for this."""

    ledger: TellingLedger
    broker: Broker
    admit: Admit
    check: Callable[[], None] = lambda: None


class Opening(Protocol):
    """Connects, and ends all that at its end."""

    def __call__(self) -> AbstractContextManager[Means]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """An `building.Engine`. What the index lacks is sent to the queue of `worker`; `place` is where the index
    is, as its workers are to be told."""

    opening: Opening
    worker: str
    place: str
    max_queue_depth: int

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built:
        """Returns once the ledger says of each image what became of it.

        Raises `ConfigError` where workers say that they are done, and the index does not have it.
        """
        with self.opening() as means:
            run = _Run(self, means, store, meter)
            admitted = means.admit(plan.source, run.take)
            run.finish()
        counts = run.counts
        if counts.elsewhere:
            raise ConfigError(
                f"{counts.elsewhere:,} of {counts.added + counts.elsewhere:,} images that were embedded are"
                f" not in the index at {self.place}: their workers write elsewhere. Start them with"
                f" INDEX_PREFIX={self.place}, in a folder that all boxes share, and give this command again"
            )
        return Built(
            added=counts.added,
            known=counts.known,
            bad=(*admitted.bad, *counts.failed),
            unnamed=admitted.bad_count - len(admitted.bad) + counts.unnamed,
            without=counts.without,
            ignored=admitted.ignored,
        )


@dataclass(slots=True)
class _Counts:
    """What became of the images so far. `elsewhere`: done, and not in this index."""

    added: int = 0
    known: int = 0
    without: int = 0
    elsewhere: int = 0
    failed: list[str] = field(default_factory=list)
    unnamed: int = 0  # failed, too

    def note(self, one: Standing) -> None:
        """An image that gets no vector."""
        if one.state is State.DONE:
            self.without += 1
        elif len(self.failed) < NAMED:
            self.failed.append(f"{line(one.place)}: {one.error}")
        else:
            self.unnamed += 1


class _Run:
    """One run of the engine."""

    def __init__(self, engine: Queue, means: Means, store: VectorStore, meter: Meter) -> None:
        self.counts = _Counts()
        self._engine, self._means, self._store, self._meter = engine, means, store, meter
        self._crew = _Crew(means.broker, engine)
        self._seen: set[int] = set()
        self._gathered: list[int] = []  # of these, what is not begun
        self._open: list[set[int]] = []  # what waits for a worker, by chunk
        self._pause = threading.Event()
        self._next_look = 0.0

    def take(self, image_ids: Sequence[int]) -> None:
        """Has images embedded that the index lacks; some of them later."""
        fresh = [image_id for image_id in dict.fromkeys(image_ids) if image_id not in self._seen]
        self._seen.update(fresh)
        self._gathered += fresh
        while len(self._gathered) >= _CHUNK:
            chunk, self._gathered = self._gathered[:_CHUNK], self._gathered[_CHUNK:]
            self._begin(chunk)
        if time.monotonic() >= self._next_look:
            self._look()

    def finish(self) -> None:
        """Returns once nothing is left to do."""
        chunk, self._gathered = self._gathered, []
        self._begin(chunk)
        self._look()
        while self._open:
            self._pause.wait(self._next_look - time.monotonic())
            self._look()

    def _begin(self, chunk: Sequence[int]) -> None:
        """Sends what was never asked for, and what was done and is not in this index."""
        standings = self._standings(set(chunk))  # first: what they say is done is in the index by then
        lacking = set(chunk) - self._there(chunk)
        self.counts.known += len(chunk) - len(lacking)
        waiting, settled = set[int](), set[int]()
        for one in [one for one in standings if one.image_id in lacking]:
            if one.state in _OPEN:
                waiting.add(one.image_id)
            elif one.state is not State.DONE or not one.found:  # given up, or nothing to embed
                settled.add(one.image_id)
                self.counts.note(one)
        self._send(lacking - waiting - settled)
        if lacking - settled:
            self._open.append(lacking - settled)

    def _send(self, images: set[int]) -> None:
        if images:
            selection = TheseImages(services=(self._engine.worker,), images=tuple(sorted(images)))
            pace = Pace(max_queue_depth=self._engine.max_queue_depth)
            Producer(selection, self._means.ledger, self._means.broker, pace, self._pause).run(Mute())

    def _look(self) -> None:
        """Notes what was settled since the last look, and tells how far it is."""
        began = time.monotonic()
        self._means.check()
        parked = ""
        for chunk in self._open:
            standings = self._standings(chunk)
            parked = next((one.error for one in standings if one.state is State.PARKED), parked)
            settled = [one for one in standings if one.state not in _OPEN]
            self._settle(settled)
            chunk.difference_update(one.image_id for one in settled)
        self._open = [chunk for chunk in self._open if chunk]
        left = len(self._gathered) + sum(map(len, self._open))
        self._meter.update(len(self._seen) - left, None if self._gathered else len(self._seen))
        if self._open:
            self._crew.look(parked)
        self._next_look = time.monotonic() + max(_LOOK, _REST * (time.monotonic() - began))

    def _settle(self, standings: Sequence[Standing]) -> None:
        embedded = {one.image_id for one in standings if one.state is State.DONE and one.found}
        there = self._there(embedded)
        self.counts.added += len(there)
        self.counts.elsewhere += len(embedded - there)
        for one in standings:
            if one.image_id not in embedded:
                self.counts.note(one)

    def _there(self, images: Collection[int]) -> set[int]:
        """Those of these images that the index has."""
        if not images:
            return set()
        return set(self._store.fetch(np.array(sorted(images), np.int64)).ids.tolist())

    def _standings(self, images: set[int]) -> Sequence[Standing]:
        return self._means.ledger.standings(self._engine.worker, sorted(images)) if images else ()


class _Crew:
    """Those who take from the queue: where there are none, it is said what the work waits for."""

    def __init__(self, broker: Broker, engine: Queue) -> None:
        self._broker, self._worker, self._place = broker, engine.worker, engine.place
        self._alone_since: float | None = None
        self._told = ""

    def look(self, parked: str) -> None:
        """`parked`: why jobs wait, if the ledger says that they do."""
        now = time.monotonic()
        if self._broker.queue_states([self._worker])[self._worker].consumers:
            self._alone_since, self._told = None, ""
            return
        self._alone_since = now if self._alone_since is None else self._alone_since
        if now - self._alone_since < _CALM:
            return
        if parked:
            self._tell(f"{self._worker} waits: {parked}")
        else:
            self._tell(
                f"no worker takes from {catalog.queue(self._worker)}. Start one on any box:"
                f" INDEX_PREFIX={self._place} windmill work {self._worker} (one that is there and waits says"
                " in its log for what)"
            )

    def _tell(self, told: str) -> None:
        if told != self._told:
            log.warning("%s", told)
        self._told = told


class Telling:
    """An `ports.ImageRegistry` that tells of the images that it has or gets, as they are asked for."""

    def __init__(self, registry: ImageRegistry, tell: Callable[[Sequence[int]], None]) -> None:
        self._registry, self._tell = registry, tell

    def known(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        return self._told(self._registry.known(hashes))

    def add(self, images: Sequence[NewImage]) -> Mapping[bytes, int]:
        return self._told(self._registry.add(images))

    def _told(self, found: Mapping[bytes, int]) -> Mapping[bytes, int]:
        self._tell(list(found.values()))
        return found
