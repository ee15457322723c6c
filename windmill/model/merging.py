"""Merged boxes, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from windmill.model.jobs import Box, Image
from windmill.model.replies import Detection, StoredReply


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
    def class_name(self) -> str:
        """The class of all its detections."""
        return self.detections[0].detection.class_name

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
    `boxes_changed` is when the set of boxes last became another; None before the first merge.
    """

    image: Image
    replies: tuple[StoredReply, ...]
    boxes: tuple[MergedBox, ...] = ()
    postprocessed: frozenset[tuple[str, str]] = frozenset()
    boxes_changed: datetime | None = None
