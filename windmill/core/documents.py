"""The JSON documents that Windmill itself writes: `merged_data`, `consensus_data`, and errors in `data`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from windmill.errors import BadReply
from windmill.model import Box, Consensus, Detection, MergedBox, MergeRule, SourcedDetection, Special, Vote
from windmill.plain import line


def merged_box(box: MergedBox, rule: MergeRule) -> str:
    """`merged_boxes.merged_data` for one box."""
    return _dump(
        {
            "emoji": box.emoji,
            "class": box.class_name,
            "label": box.label,
            "labels": box.labels,
            "bbox": _box(box.box),
            "crop": _box(box.crop),
            "score": box.score,
            "detection_count": box.detection_count,
            "avg_confidence": box.avg_confidence,
            "contributing_services": box.contributing_services,
            "source_result_ids": box.source_result_ids,
            "detections": [_sourced(source) for source in box.detections],
            "rule": asdict(rule),
        }
    )


def read_merged_box(key: str, data: Any) -> MergedBox:
    """The box that `merged_box` wrote, from decoded JSON."""
    return MergedBox(
        key=key,
        class_name=data["class"],
        emoji=data["emoji"],
        label=data["label"],
        labels=tuple(data["labels"]),
        box=Box(**data["bbox"]),
        crop=Box(**data["crop"]),
        score=data["score"],
        avg_confidence=data["avg_confidence"],
        detections=tuple(_read_sourced(source) for source in data["detections"]),
    )


def consensus(value: Consensus) -> str:
    """`consensus.consensus_data` for one image."""
    latest = value.latest_result_time
    return _dump(
        {
            "services_count": len(value.services),
            "services_list": value.services,
            "total_processing_time": value.total_processing_time,
            "latest_result_time": latest.isoformat() if latest else None,
            "consensus_algorithm": value.algorithm,
            "votes": {"consensus": [_vote(vote) for vote in value.votes]},
            "special": {
                "text": _special(value.text),
                "face": _special(value.face),
                "nsfw": _special(value.nsfw),
            },
        }
    )


def failure(error: Exception) -> str:
    """`data` of a row whose status is error or timeout, with what a service said instead of a reply."""
    fields = {"class": type(error).__name__, "message": line(error)}
    if isinstance(error, BadReply):
        fields["body"] = error.body
    return _dump({"error": fields})


def _vote(vote: Vote) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "emoji": vote.emoji,
        "votes": vote.votes,
        "evidence_weight": vote.evidence_weight,
        "final_score": vote.final_score,
        "instances": {
            "count": len(vote.boxes) or 1,
            "type": "spatial" if vote.boxes else "non_spatial",
        },
        "evidence": asdict(vote.evidence),
        "services": vote.services,
        "bounding_boxes": [_bounding_box(box) for box in vote.boxes],
        "validation": vote.validation,
        "shiny": vote.shiny,
    }
    if vote.probability is not None:
        fields |= {"probability": vote.probability, "weights": dict(vote.weights)}
    return fields


def _bounding_box(box: MergedBox) -> dict[str, Any]:
    return {
        "emoji": box.emoji,
        "label": box.label,
        "merged_bbox": _box(box.box),
        "detection_count": box.detection_count,
        "avg_confidence": box.avg_confidence,
        "contributing_services": box.contributing_services,
    }


def _special(value: Special) -> dict[str, Any]:
    fields: dict[str, Any] = {"emoji": value.emoji, "detected": value.detected}
    if value.detected:
        fields["confidence"] = value.confidence
    if value.content:
        fields["content"] = value.content
    return fields


def _sourced(source: SourcedDetection) -> dict[str, Any]:
    detection = source.detection
    return {
        "service": source.service,
        "result_id": source.result_id,
        "label": detection.label,
        "emoji": detection.emoji,
        "class": detection.class_name,
        "confidence": detection.confidence,
        "bbox": _box(detection.box) if detection.box else None,
    }


def _box(box: Box) -> dict[str, float]:
    """As `asdict` has it, which takes a sixth of a merge for it."""
    return {"x": box.x, "y": box.y, "width": box.width, "height": box.height}


def _read_sourced(data: Any) -> SourcedDetection:
    return SourcedDetection(
        service=data["service"],
        result_id=data["result_id"],
        detection=Detection(
            label=data["label"],
            emoji=data["emoji"],
            confidence=data["confidence"],
            class_name=data["class"],
            box=Box(**data["bbox"]) if data["bbox"] else None,
        ),
    )


def _dump(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)
