"""What a handler wants written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from windmill.model.jobs import Decision, Delivery, Dispatch, Job
from windmill.model.merging import MergedBox
from windmill.model.voting import Consensus


class Status(StrEnum):
    """State of a row in `results` and `postprocessing`."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One service's result for one image. `data` is JSON text: the raw reply, or `{"error": …}`.

    `service_types` and `bbox_format` travel with the row, so that a merger or a voter on another box can
    read the reply without that service in its own catalog.
    """

    image_id: int
    service: str
    status: Status
    data: str
    service_types: tuple[str, ...]
    bbox_format: str
    found: int = 0
    processing_time: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedBoxesRow:
    """The whole set of an image's merged boxes; what is not in it ceases to exist."""

    image_id: int
    boxes: tuple[MergedBox, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusRow:
    """An image's consensus; `processing_time` is what the vote itself took, in seconds."""

    image_id: int
    consensus: Consensus
    processing_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PostprocessingRow:
    """A result about one merged box (`box_key`), or about a caption of the image (`box_key` is None)."""

    image_id: int
    box_key: str | None
    service: str
    status: Status
    data: str


Row = ResultRow | MergedBoxesRow | ConsensusRow | PostprocessingRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a handler wants: rows to write, and what follows once they are written."""

    rows: tuple[Row, ...] = ()
    followers: tuple[Dispatch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """A delivery after its handler: what to write, and what becomes of the message once that is written.

    `job` is None when the message was no job; `error` is what the handler met, if anything; `seconds` is
    how long it took.
    """

    delivery: Delivery
    job: Job | None
    outcome: Outcome
    decision: Decision
    error: Exception | None = None
    seconds: float = 0.0
