"""What a handler wants written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from windmill.model.jobs import Decision, Delivery, Dispatch, Job
from windmill.model.merging import MergedBox, MergeRule
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

    `service_types`, `bbox_format` and `vocabulary` travel with the row, so that a merger or a voter on
    another box can read the reply without that service in its own catalog. `model_version` is the reply's
    own word.
    """

    image_id: int
    service: str
    status: Status
    data: str
    service_types: tuple[str, ...]
    bbox_format: str
    vocabulary: str | tuple[str, ...]
    processing_time: float = 0.0
    model_version: str = ""


class State(StrEnum):
    """State of a row in `dispatches`."""

    QUEUED = "queued"
    PARKED = "parked"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchRow:
    """What has become of one image × service; `version` is the one that the job asked for.

    `attempted`: whether the service was tried; the table counts those. `error` is what went wrong, or the
    reason to skip.
    """

    image_id: int
    service: str
    version: str
    state: State
    attempted: bool = True
    found: int | None = None
    error_class: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedBoxesRow:
    """The whole set of an image's merged boxes; what is not in it ceases to exist."""

    image_id: int
    boxes: tuple[MergedBox, ...]
    rule: MergeRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusRow:
    """An image's consensus; `processing_time` is what the vote itself took, in seconds."""

    image_id: int
    consensus: Consensus
    processing_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """What a stage made of an image and from what: `seen` as `core.seen` has it, `rule` decided."""

    image_id: int
    stage: str
    seen: Mapping[str, int]
    found: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRow:
    """A job that was given up: the message as it was, and why. `image_id` is None when it was no job."""

    service: str
    image_id: int | None
    body: bytes
    attempts: int
    error_class: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostprocessingRow:
    """A result about one merged box (`box_key`), or about a caption of the image (`box_key` is None)."""

    image_id: int
    box_key: str | None
    service: str
    status: Status
    data: str
    model_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRow:
    """An image for the index. `place` is its path, or its address; `vector` holds float32 numbers in this
    machine's order, of length 1. `service` made them, by the model of this name and version."""

    image_id: int
    place: str
    service: str
    model_name: str
    model_version: str
    vector: bytes


Row = (
    EmbeddingRow
    | ResultRow
    | DispatchRow
    | MergedBoxesRow
    | ConsensusRow
    | StageRow
    | PostprocessingRow
    | DeadRow
)


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
