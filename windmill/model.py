"""The values that move through Windmill: frozen, and without behaviour beyond their own arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """State of a row in `results` and `postprocessing`."""

    PENDING = "pending"
    PROCESSING = "processing"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"


# --- images and jobs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One admitted image: where its bytes are. At least one of `path` and `url` is set."""

    image_id: int
    path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewImage:
    """An image that is to be admitted. `content_hash` is the sha256 of its bytes, the size is upright."""

    filename: str
    group: str
    content_hash: bytes
    width: int
    height: int
    path: str | None = None
    url: str | None = None


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
    """One thing to do with one image; which thing is said by the queue that it lies in."""

    image: Image
    box: BoxRef | None = None
    caption: Caption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A job for the queues of `services`: one publish, however many they are."""

    job: Job
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message in a worker's hands. `token` is the broker's own and opaque to everyone else.

    `attempt` counts how often the job has failed before: 0 the first time. `redelivered` says that someone
    may have had it in hand and not finished.
    """

    service: str
    body: bytes
    attempt: int
    token: object
    redelivered: bool = False


# --- what a service says ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Something that a service saw; `box` is None when it speaks of the whole image, `emoji` may be ""."""

    label: str
    emoji: str
    confidence: float
    box: Box | None = None
    shiny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A word of a caption or a text that stands for an emoji."""

    emoji: str
    word: str
    shiny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReply:
    """A successful reply, in Windmill's words.

    `text` is a captioner's sentence or the text that OCR read; `found` counts predictions, and 0 is a
    result too.
    """

    service: str
    service_types: tuple[str, ...]
    detections: tuple[Detection, ...] = ()
    full_image: tuple[Detection, ...] = ()
    mentions: tuple[Mention, ...] = ()
    text: str = ""
    processing_time: float = 0.0
    found: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReply:
    """A reply with the row of `results` that holds it."""

    result_id: int
    created: datetime
    reply: ServiceReply


# --- merging ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedDetection:
    """A detection and where it came from."""

    service: str
    result_id: int
    detection: Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedBox:
    """What the detectors agreed on at one place.

    `key` names the box within its image and changes exactly when its crop or its class does, so that a
    box which a new reply leaves alone keeps its row and everything that hangs on it.
    `score` is in [0, 1] and comparable whatever the number of services that reported.
    """

    key: str
    emoji: str
    label: str
    labels: tuple[str, ...]
    box: Box
    score: float
    avg_confidence: float
    detections: tuple[SourcedDetection, ...]

    @property
    def contributing_services(self) -> tuple[str, ...]:
        return tuple(sorted({source.service for source in self.detections}))

    @property
    def detection_count(self) -> int:
        """Services that agree: each has one vote."""
        return len(self.contributing_services)

    @property
    def source_result_ids(self) -> tuple[int, ...]:
        return tuple(sorted({source.result_id for source in self.detections}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of one image at one moment, read under its lock: its replies and its merged boxes.

    `postprocessed` holds (box key, service) of every row in `postprocessing` that is about a box.
    """

    image: Image
    replies: tuple[StoredReply, ...]
    boxes: tuple[MergedBox, ...] = ()
    postprocessed: frozenset[tuple[str, str]] = frozenset()


# --- voting ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialEvidence:
    """The boxes of an emoji that two services or more agree on."""

    detection_count: int
    avg_confidence: float
    instance_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticEvidence:
    """Captioners that speak of an emoji, and the words they used."""

    service_count: int
    words: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationEvidence:
    """Classifiers that give an emoji to the whole image."""

    service_count: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All evidence for one emoji, by kind; None where there is none of a kind."""

    spatial: SpatialEvidence | None = None
    semantic: SemanticEvidence | None = None
    classification: ClassificationEvidence | None = None
    specialized: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One emoji's place in the consensus."""

    emoji: str
    votes: int
    evidence_weight: int
    final_score: int
    evidence: Evidence
    services: tuple[str, ...]
    boxes: tuple[MergedBox, ...] = ()
    validation: tuple[str, ...] = ()
    shiny: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """Something that stands beside the ranking: text, a face, nudity."""

    emoji: str
    detected: bool
    confidence: float = 0.0
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """What all services together say of one image."""

    services: tuple[str, ...]
    total_processing_time: float
    latest_result_time: datetime | None
    votes: tuple[Vote, ...]
    text: Special
    face: Special
    nsfw: Special


# --- rows: what a handler wants written ------------------------------------------------------------------


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


# --- what becomes of a delivery --------------------------------------------------------------------------


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
    """Set aside for a person to look at; `error` is the class of the error, `reason` its text."""

    error: str
    reason: str


Decision = Ack | Again | Bury


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A delivery and what becomes of it."""

    delivery: Delivery
    decision: Decision


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


# --- monitoring ------------------------------------------------------------------------------------------


class Health(StrEnum):
    """Status of a worker in `worker_heartbeats`."""

    STARTING = "starting"
    ALIVE = "alive"
    STOPPING = "stopping"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One sign of life of one worker. `queue_depth` is None when the broker could not be asked."""

    worker_id: str
    service_name: str
    node_hostname: str
    status: Health
    jobs_completed: int
    jobs_per_minute: float
    last_job_time: datetime | None
    queue_depth: int | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A worker's latest heartbeat, and how long ago it was by the database's clock."""

    heartbeat: Heartbeat
    silent_seconds: float
