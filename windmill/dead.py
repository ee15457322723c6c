"""Jobs that were given up, as people look at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """One job that was given up, with the message as it was. `image` is its path or address, "" if gone."""

    dead_id: int
    service: str
    image_id: int | None
    image: str
    body: bytes
    attempts: int
    error_class: str
    error: str
    worker_id: str | None
    buried_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroup:
    """All dead jobs of one service that met one class of error; the sample is the latest."""

    service: str
    error_class: str
    count: int
    first: datetime
    last: datetime
    sample_id: int
    sample_image: str
    sample_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which dead jobs: those that are all of what is not None."""

    service: str | None = None
    error_class: str | None = None
    image_id: int | None = None
    dead_id: int | None = None
    before: datetime | None = None  # by the database's clock
