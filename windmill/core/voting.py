"""The consensus of all services on one image: the rules of `docs/service-api.md`, "Voting"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from windmill.core import emoji
from windmill.core.replies import DEFAULT_CONFIDENCE
from windmill.model import (
    ClassificationEvidence,
    Consensus,
    Evidence,
    MergedBox,
    SemanticEvidence,
    ServiceReply,
    SpatialEvidence,
    Special,
    StoredReply,
    Vote,
)

ALGORITHM = "v3"

PERSON, FACE, NUDITY, TEXT = emoji.PERSON, "🙂", "🔞", "💬"
COLOURS = "colors"
SPECIALISTS = ("face", "nsfw2", "ocr", "pose")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ballot:
    """One service's word for one emoji, of one kind of evidence."""

    emoji: str
    service: str
    kind: str
    confidence: float
    word: str = ""
    shiny: bool = False


def vote(replies: Sequence[StoredReply], boxes: Sequence[MergedBox]) -> Consensus:
    """Consensus of all successful `replies` of one image and its merged `boxes`; their order is nothing."""
    return concluded(replies, _rank(tallied(replies, boxes)), ALGORITHM)


def tallied(replies: Sequence[StoredReply], boxes: Sequence[MergedBox]) -> Sequence[Vote]:
    """Every emoji that a service named, with its votes and the evidence for it; not ranked, not curated."""
    strongest_first = sorted(boxes, key=lambda box: (-box.score, box.key))
    agreed = [(box, _symbols(box)) for box in strongest_first if box.detection_count > 1]
    ballots = _by_emoji(ballot for reply in _spoken(replies) for ballot in _ballots(reply))
    return [
        _vote(own, [box for box, symbols in agreed if symbol in symbols]) for symbol, own in ballots.items()
    ]


def _symbols(box: MergedBox) -> frozenset[str]:
    """All that its detections call it: a taxi 🚕 is evidence for 🚗 where another detector says car."""
    return frozenset(emoji.normalise(source.detection.emoji) for source in box.detections)


def concluded(replies: Sequence[StoredReply], ranking: Sequence[Vote], algorithm: str) -> Consensus:
    """The consensus whose votes are `ranking`, once they are curated, with what stands beside them."""
    spoken = _spoken(replies)
    return Consensus(
        algorithm=algorithm,
        services=tuple(reply.service for reply in spoken),
        total_processing_time=round(math.fsum(reply.processing_time for reply in spoken), 4),
        latest_result_time=max((one.created for one in replies), default=None),
        votes=_curate(ranking, posed=any(r.service == "pose" and r.found for r in spoken)),
        text=_text(spoken),
        face=_special(FACE, "face", spoken),
        nsfw=_special(NUDITY, "nsfw2", spoken),
    )


def _spoken(replies: Sequence[StoredReply]) -> Sequence[ServiceReply]:
    return sorted((one.reply for one in replies), key=lambda reply: reply.service)


def _ballots(reply: ServiceReply) -> Iterable[_Ballot]:
    """Every emoji of a reply once, in the first way that it comes; what is said of colours is no vote."""
    if reply.service == COLOURS:
        return ()
    seen: dict[str, _Ballot] = {}
    for ballot in _all_ballots(reply):
        if ballot.emoji:
            seen.setdefault(ballot.emoji, ballot)
    return seen.values()


def _all_ballots(reply: ServiceReply) -> Iterable[_Ballot]:
    kind = reply.service_types[0]
    for mention in reply.mentions:
        yield _Ballot(
            emoji=emoji.normalise(mention.emoji),
            service=reply.service,
            kind=kind,
            confidence=DEFAULT_CONFIDENCE,
            word=mention.word,
            shiny=mention.shiny,
        )
    spoken = ((kind, reply.detections), ("classification", reply.full_image))
    for its_kind, detections in spoken:
        for detection in sorted(detections, key=lambda d: -d.confidence):
            yield _Ballot(
                emoji=emoji.normalise(detection.emoji),
                service=reply.service,
                kind=its_kind,
                confidence=detection.confidence,
                shiny=detection.shiny,
            )


def _by_emoji(ballots: Iterable[_Ballot]) -> Mapping[str, list[_Ballot]]:
    groups: dict[str, list[_Ballot]] = {}
    for ballot in ballots:
        groups.setdefault(ballot.emoji, []).append(ballot)
    return groups


def _vote(ballots: Sequence[_Ballot], boxes: Sequence[MergedBox]) -> Vote:
    """One emoji's vote: a service each, however often and in whatever way it said it."""
    services = tuple(sorted({ballot.service for ballot in ballots}))
    evidence = Evidence(
        spatial=_spatial(boxes),
        semantic=_semantic([b for b in ballots if b.kind == "semantic"]),
        classification=_classification([b for b in ballots if b.kind == "classification"]),
        specialized=tuple(s for s in SPECIALISTS if s in services) or None,
    )
    weight = _weight(len(services), evidence)
    return Vote(
        emoji=ballots[0].emoji,
        votes=len(services),
        evidence_weight=weight,
        final_score=len(services) + weight,
        evidence=evidence,
        services=services,
        boxes=tuple(boxes),
        shiny=any(ballot.shiny for ballot in ballots),
    )


def _spatial(boxes: Sequence[MergedBox]) -> SpatialEvidence | None:
    if not boxes:
        return None
    return SpatialEvidence(
        detection_count=max(box.detection_count for box in boxes),
        avg_confidence=round(math.fsum(box.avg_confidence for box in boxes) / len(boxes), 4),
        instance_count=len(boxes),
    )


def _semantic(ballots: Sequence[_Ballot]) -> SemanticEvidence | None:
    if not ballots:
        return None
    sources = tuple(sorted({ballot.service for ballot in ballots}))
    words = tuple(sorted({ballot.word for ballot in ballots if ballot.word}))
    return SemanticEvidence(service_count=len(sources), words=words, sources=sources)


def _classification(ballots: Sequence[_Ballot]) -> ClassificationEvidence | None:
    if not ballots:
        return None
    sources = tuple(sorted({ballot.service for ballot in ballots}))
    return ClassificationEvidence(service_count=len(sources), sources=sources)


def _weight(votes: int, evidence: Evidence) -> int:
    """Votes, and a bonus for agreement within each kind of evidence: one voice is no agreement."""
    located = evidence.spatial.detection_count - 1 if evidence.spatial else 0
    captioned = evidence.semantic.service_count - 1 if evidence.semantic else 0
    classified = evidence.classification.service_count - 1 if evidence.classification else 0
    return max(0, votes + located + captioned + classified)


def _rank(votes: Iterable[Vote]) -> list[Vote]:
    """Emoji with more than one vote, by votes, then weight, ties by emoji."""
    heard = [vote for vote in votes if vote.votes > 1]
    return sorted(heard, key=lambda vote: (-vote.votes, -vote.evidence_weight, vote.emoji))


def _curate(ranking: Sequence[Vote], *, posed: bool) -> tuple[Vote, ...]:
    """Adjusts what other emoji in the ranking confirm or make doubtful; ranks stay as they are."""
    present = {vote.emoji for vote in ranking}
    return tuple(_adjusted(vote, _checks(vote.emoji, present, posed)) for vote in ranking)


def _checks(symbol: str, present: set[str], posed: bool) -> Sequence[tuple[str, int]]:
    if symbol == PERSON:
        checks = (("face_confirmed", FACE in present), ("pose_confirmed", posed))
        return [(name, 1) for name, holds in checks if holds]
    if symbol == NUDITY:
        human = PERSON in present
        return [("human_context_confirmed", 1)] if human else [("suspicious_no_humans", -1)]
    return []


def _adjusted(vote: Vote, checks: Sequence[tuple[str, int]]) -> Vote:
    weight = max(0, vote.evidence_weight + sum(step for _, step in checks))
    return replace(
        vote,
        evidence_weight=weight,
        final_score=vote.votes + weight,
        validation=tuple(name for name, _ in checks),
    )


def _special(symbol: str, service: str, replies: Sequence[ServiceReply]) -> Special:
    """Whether the specialist for `symbol` saw it, and how surely."""
    seen = [
        detection.confidence
        for reply in replies
        if reply.service == service
        for detection in reply.detections
        if emoji.normalise(detection.emoji) == symbol
    ]
    return Special(emoji=symbol, detected=bool(seen), confidence=max(seen, default=0.0))


def _text(replies: Sequence[ServiceReply]) -> Special:
    content = next((reply.text for reply in replies if reply.service == "ocr"), "")
    special = _special(TEXT, "ocr", replies)
    return replace(special, content=content) if special.detected else special
