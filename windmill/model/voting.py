"""The consensus and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from windmill.model.merging import MergedBox


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
    """One emoji's place in the consensus.

    A rule that is calibrated says how probable it is, and what moved that: `weights`, which add up to its
    log-odds.
    """

    emoji: str
    votes: int
    evidence_weight: int
    final_score: int
    evidence: Evidence
    services: tuple[str, ...]
    boxes: tuple[MergedBox, ...] = ()
    validation: tuple[str, ...] = ()
    shiny: bool = False
    probability: float | None = None
    weights: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """Something that stands beside the ranking: text, a face, nudity."""

    emoji: str
    detected: bool
    confidence: float = 0.0
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consensus:
    """What all services together say of one image, by the rule `algorithm`."""

    algorithm: str
    services: tuple[str, ...]
    total_processing_time: float
    latest_result_time: datetime | None
    votes: tuple[Vote, ...]
    text: Special
    face: Special
    nsfw: Special
