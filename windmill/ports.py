"""What the use cases ask of the world: small protocols, each with the few methods that its user calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from windmill.core.reach import Reach
from windmill.dead import Dead, DeadGroup, Matching
from windmill.findings import Findings, Progress, Standing
from windmill.history import History
from windmill.model import (
    NOTHING_SEEN,
    Delivery,
    Dispatch,
    Heartbeat,
    Image,
    Job,
    Missing,
    NewImage,
    Outcome,
    QueueState,
    Seen,
    Selection,
    Settlement,
    Sighting,
    Snapshot,
)

if TYPE_CHECKING:
    from windmill.explaining import Case  # brings NumPy, which few workers need


class Publisher(Protocol):
    """The sending side of a broker."""

    def publish(
        self, dispatches: Sequence[Dispatch], *, doubtful: bool = False, stop: threading.Event | None = None
    ) -> None:
        """Sends every dispatch to the queues of all its services; returns once all are safe.

        Declares queues that do not exist yet. `doubtful` messages may be a second copy of one that a worker
        has already: they are delivered as `redelivered`. A broker that takes nothing for now, being short of
        memory or disk, is waited for without a limit, until `stop` is set. Raises `BrokerError` when it
        cannot be said of all that they are safe; some may have arrived.
        """
        ...


class Consumer(Protocol):
    """The receiving side of a broker, for one queue. Thread-safe."""

    def take(self, limit: int, timeout: float) -> Sequence[Delivery]:
        """Up to `limit` deliveries: at least one, unless `timeout` seconds pass without any or a pause comes
        in between."""
        ...

    def suspects(self) -> bool:
        """Whether there are jobs that `take` gives no more: workers died with them in hand, or with what they
        had beside them. Looks every few seconds, so that it may be asked all the time."""
        ...

    def take_suspect(self) -> Delivery | None:
        """One of these, if there still is one. To be asked for while nothing else is in hand, so that it is
        to blame if the worker dies. Raises `BrokerError`."""
        ...

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Acks, or sends on again after exactly the delay, as far as the broker's longest goes. A delivery
        whose connection was lost meanwhile is skipped: the broker delivers it anew. Raises `BrokerError`."""
        ...

    def depth(self) -> int:
        """Jobs that wait in the queue. Raises `BrokerError`."""
        ...

    def pause(self) -> None:
        """Takes nothing more off the queue and gives back what nobody has taken yet, as if it had never
        left; what was taken can still be settled. Idempotent."""
        ...

    def resume(self) -> None:
        """Takes from the queue again. Idempotent."""
        ...

    def close(self) -> None:
        """Gives back what is not settled. Idempotent."""
        ...


class Store(Protocol):
    """The writing side of the database, as workers use it. Each call is one transaction."""

    def save(self, outcomes: Sequence[Outcome]) -> None:
        """Upserts all rows of all outcomes. Raises `StoreUnavailable`, `StaleBox` or `StoreError`."""
        ...

    def recompute(
        self, image_ids: Sequence[int], step: Callable[[Snapshot], Outcome], unless: Seen = NOTHING_SEEN
    ) -> Sequence[Outcome]:
        """For each image: lock it, read its snapshot, save what `step` makes of it; gives the outcomes.

        Two callers with the same image take turns, so the later one sees what the earlier one read and
        more. Images that no longer exist are left out, and those of `unless` that hold nothing new.
        """
        ...


class ImageSource(Protocol):
    """Where image bytes come from."""

    def upright(self, image: Image) -> bytes:
        """The image file as a service should see it: EXIF orientation applied, in a common format.

        Raises `ImageError`."""
        ...

    def crop(self, image: Image, left: int, top: int, right: int, bottom: int) -> bytes:
        """A JPEG of one rectangle, in upright pixels, cut at the image's border. Raises `ImageError`."""
        ...


class ServiceCaller(Protocol):
    """The HTTP side of one ML service."""

    def analyze(self, picture: bytes) -> bytes:
        """Body of the service's reply. Raises a `ServiceError`."""
        ...

    def score(self, picture: bytes, caption: str) -> bytes:
        """Body of the reply to a picture and a caption. Raises a `ServiceError`."""
        ...

    def healthy(self) -> bool:
        """Whether `/health` answers, and not with a server error."""
        ...


class Gate(Protocol):
    """Something that a worker waits for before it takes more jobs."""

    @property
    def shut(self) -> bool:
        """Whether to wait."""
        ...

    def wait(self, stop: threading.Event) -> None:
        """Returns once it is open, or `stop` is set."""
        ...


class HeartbeatSink(Protocol):
    """Where heartbeats go."""

    def write(self, heartbeat: Heartbeat) -> None:
        """Raises `StoreUnavailable`, `StoreError` or `ConfigError`; never waits long."""
        ...


class HeartbeatLog(Protocol):
    """The heartbeats, as the monitor reads them."""

    def latest(self) -> Sequence[Sighting]:
        """The latest heartbeat of each worker of the last days, by service and worker."""
        ...

    def completed(self, seconds: float) -> Mapping[str, tuple[int, float]]:
        """For each service heard of within the last `seconds`: the jobs that it completed in that time, and
        for how many of these seconds its heartbeats speak."""
        ...

    def errors(self, seconds: float) -> Sequence[tuple[str, str, str, int, float]]:
        """The latest errors within the last `seconds`: worker, service, message, the number of heartbeats
        that told of it, and how many seconds ago the last one did."""
        ...


class FindingsReader(Protocol):
    """What was found, as a report reads it."""

    def progress(self) -> Progress:
        """How far the work on all images is."""
        ...

    def of_group(self, group: str) -> Sequence[Findings]:
        """What was found in each image of the group."""
        ...


class Ledger(Protocol):
    """The ledger of what was asked for, as those who send jobs use it."""

    def count(self, selection: Selection) -> Mapping[str, int]:
        """How many jobs for each service `selection` has; services without any are left out."""
        ...

    def count_images(self, selection: Missing, limit: int | None = None) -> int:
        """How many images these jobs are about; `limit` where it is more: to find those takes less time."""
        ...

    def send(
        self,
        selection: Selection,
        send: Callable[[Sequence[Dispatch]], None],
        *,
        after: int,
        limit: int,
    ) -> tuple[Sequence[Dispatch], int]:
        """Has `send` send the next dispatches of a selection, up to `limit`, and notes them as queued.

        Gives them and the number to go on `after`; the first is after 0. Those who send take turns, so that
        nothing is sent by two of them. It is noted after it was sent: whoever dies between the two sends it
        again, which loses nothing. What `send` raises passes through, and nothing is noted.
        """
        ...

    def last_hour(self, service: str) -> tuple[int, float]:
        """How many jobs of a service or stage were settled in the last hour, and within how many seconds."""
        ...

    def versions(self, service: str) -> Sequence[str]:
        """The versions that the service answered with, the current one first."""
        ...

    def make_current(self, service: str, version: str) -> None:
        """From now on `version` is the newest: its results replace those of all others."""
        ...

    def groups(self) -> Mapping[str, int]:
        """The image groups that exist, with the number of images in each."""
        ...


class TellingLedger(Ledger, Protocol):
    """A ledger that tells of single images."""

    def standings(self, service: str, image_ids: Sequence[int]) -> Sequence[Standing]:
        """How far a service is with those of these images that it was asked about."""
        ...


class CountingLedger(Ledger, Protocol):
    """A ledger that can be compared with what lies in the queues; the `Lost…` selections need a count."""

    def begin_count(self) -> datetime:
        """Forgets any earlier count; gives the time by the database's clock."""
        ...

    def counted(self, service: str, jobs: Sequence[Job]) -> None:
        """Notes that these jobs lie in the queues of `service`."""
        ...

    def end_count(self) -> None:
        """Makes the count ready to be used."""
        ...

    def open_services(self) -> Sequence[str]:
        """The services that something is asked of and not settled."""
        ...


class Histories(Protocol):
    """What happened to each image."""

    def find(self, name: str) -> Sequence[int]:
        """Numbers of the images that are called `name`: by number, path, address or file name; at most 11."""
        ...

    def of(self, image_id: int) -> History:
        """All that is known of one image. Raises `ConfigError` when there is no such image."""
        ...

    def case(self, image_id: int) -> Case:
        """The same with the image's replies and boxes, all of one moment. Raises as `of` does."""
        ...


class Graveyard(Protocol):
    """The jobs that were given up."""

    def now(self) -> datetime:
        """The database's clock."""
        ...

    def groups(self, matching: Matching) -> Sequence[DeadGroup]:
        """Them by service and class of error."""
        ...

    def jobs(self, matching: Matching, *, after: int, limit: int) -> Sequence[Dead]:
        """Up to `limit` of them, oldest first, with numbers above `after`."""
        ...

    def replay(
        self, matching: Matching, send: Callable[[Sequence[Dispatch]], None], *, after: int, limit: int
    ) -> tuple[Sequence[Dispatch], int]:
        """Has `send` send the next ones again and forgets that they were dead; see `Ledger.send`.

        What never was a job stays."""
        ...

    def drop(self, matching: Matching) -> int:
        """Forgets them; the ledger notes them as skipped. Gives how many."""
        ...


class ImageRegistry(Protocol):
    """The table of images, as ingest fills it."""

    def known(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        """The image id of each content hash that is there already."""
        ...

    def add(self, images: Sequence[NewImage]) -> Mapping[bytes, int]:
        """Adds what is not there yet, in one transaction; the new ids by content hash."""
        ...


class Broker(Publisher, Protocol):
    """A connection to a broker: publishes, and opens consumers. Thread-safe; a context manager."""

    def consumer(self, service: str, reach: Reach) -> Consumer:
        """The queue of `service`; as many jobs are unsettled at a time as `reach` says at that moment."""
        ...

    def queue_states(self, services: Iterable[str]) -> dict[str, QueueState]:
        """The state of each service's queue; all 0 for one that does not exist. Raises `BrokerError`."""
        ...

    def census(self, service: str) -> Iterator[bytes]:
        """The body of every message that lies in the queues of `service` now, undeliverable ones included;
        what a worker has in hand may be missing, and a message that moves meanwhile may come twice.

        Nothing is lost by it and nothing counts as delivered, also while workers consume. Memory does not
        grow with the queue. Raises `BrokerError`.
        """
        ...

    def close(self) -> None:
        """Gives back what is not settled and disconnects. Idempotent."""
        ...
