"""Images, jobs, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One admitted image: where its bytes are. At least one of `path` and `url` is set.

    `as_is` is the size in bytes of a file that services can be sent as it is: one that was seen to be whole,
    upright and of a common format. Of another size it is another file, and seen anew.
    """

    image_id: int
    path: str | None = None
    url: str | None = None
    as_is: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a file is: its upright size in pixels, and whether services can be sent it as it is."""

    width: int
    height: int
    as_is: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image that is to be admitted. `content_hash` is the sha256 of its bytes, the size is upright.

    `as_is`: see `Image`.
    """

    filename: str
    group: str
    content_hash: bytes
    width: int
    height: int
    path: str | None = None
    url: str | None = None
    as_is: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in upright image pixels, from its left upper corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxRef:
    """A merged box that a job is about, by its key within the image (see `MergedBox.key`)."""

    key: str
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A sentence about an image, and the service that said it."""

    service: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One thing to do with one image; which thing is said by the queue that it lies in.

    `version` is the model's version that was asked for, "" for whichever the service has.
    """

    image: Image
    box: BoxRef | None = None
    caption: Caption | None = None
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A job for the queues of `services`: one publish, however many they are."""

    job: Job
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message in a worker's hands. `token` is the broker's own and opaque to everyone else.

    `attempt` counts how often the job has failed before: 0 the first time. `redelivered` says that someone
    may have had it in hand and not finished. `undeliverable`: so many workers died with it in hand, the last
    ones with nothing else, that it is not run again, but written down and acked.
    """

    service: str
    body: bytes
    attempt: int
    token: object
    redelivered: bool = False
    undeliverable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Done, or nothing left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try once more after `delay` seconds, as attempt number `attempt`."""

    delay: float
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bury:
    """Given up, for a person to look at: the database keeps the job, and its message is acked.

    `error` is the class of the error, `reason` its text.
    """

    error: str
    reason: str


Decision = Ack | Again | Bury


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A delivery and what becomes of its message."""

    delivery: Delivery
    decision: Ack | Again


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue of a service: jobs that can be taken at once, jobs whose time has not come, and how many
    consumers take from it."""

    waiting: int = 0
    delayed: int = 0
    consumers: int = 0
