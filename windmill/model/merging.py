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
class BoxVote:
    """What one service, which saw a merged box or knows its class, says of it.

    Who saw it: `chance`, in [0, 1], that it is right, by itself; `iou` of its box and the surest one;
    `counts`, the chance that is left of the two; `share`, in [0, 1], of its box in the merged one's corners.
    Who did not (`detection` is None): `silence`, what that takes from the log-odds.
    """

    service: str
    detection: Detection | None = None
    chance: float = 0.0
    iou: float = 0.0
    counts: float = 0.0
    share: float = 0.0
    silence: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedBox:
    """What the detectors agreed on at one place.

    `crop` is the box of its surest detection, which is what box workers look at. `key` names the box within
    its image by its class and its crop: a box that a new reply leaves alone, or only refines, keeps its row
    and everything that hangs on it.
    `score`, in [0, 1], is the probability that it shows an object of its class, whoever has reported.
    """

    key: str
    class_name: str
    emoji: str
    label: str
    labels: tuple[str, ...]
    box: Box
    crop: Box
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
class JudgedBox:
    """A merged box, whether it stands or not, and why.

    `right` is the chance that one of its detections is right; `rival` the largest IoU with a surer box of its
    class, 0 without one; it stands from a score of `threshold`.
    """

    box: MergedBox
    threshold: float
    right: float
    rival: float
    votes: tuple[BoxVote, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRule:
    """What boxes were merged by; `calibration` tells apart what was learned about detectors."""

    name: str
    version: int
    calibration: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.calibration}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Images that need no work where `stage` has seen all that there is of them, and decided by `rule`.

    `stage` is also who reads: the merger is shown no replies but those of detectors.
    """

    image_ids: tuple[int, ...]
    stage: str = ""
    rule: str = ""


NOTHING_SEEN = Seen(image_ids=())


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
