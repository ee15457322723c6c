"""Harmonizing the detectors' boxes of one image into merged boxes.

Detections of the same class are clustered across services by IoU around their strongest member, in an order
that depends on the detections alone; a cluster's box is the confidence-weighted mean of its members' corners
(weighted boxes fusion, Solovyev et al. 2021, arXiv:1910.13302), except that a service has one vote in it.
Because a cluster gathers around a fixed box, a further reply moves only the boxes that it takes part in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from windmill.core import emoji
from windmill.core.geometry import iou, rounded, weighted_mean
from windmill.model import Box, MergedBox, ServiceReply, SourcedDetection, StoredReply

RULE = "weighted_boxes_by_service"
VERSION = 2
IDENTITY = f"{RULE} {VERSION}"  # as stages carry it

SAME_OBJECT = 0.5  # IoU from which two services' boxes are one object
SAME_DETECTION = 0.8  # IoU from which two boxes of one service are one detection
STANDS = 0.25  # score that a box needs once several services looked (docs/merging.md says why)


def merge(replies: Iterable[StoredReply]) -> tuple[MergedBox, ...]:
    """Merged boxes of all spatial replies of one image, strongest first; the order of replies is nothing.

    `score` is the mean confidence over all services that looked and know the class, counting 0 for those
    that saw nothing: agreement raises it, and a lone weak detection falls once others did not see it.
    """
    spatial = [stored for stored in replies if _looked_for_boxes(stored.reply)]
    clusters = _clusters(sorted(_detections(spatial), key=_rank))
    judged = [(members, _looked(members, spatial)) for members in clusters]
    fused = [(_fuse(members, looked), looked) for members, looked in judged]
    standing = {box.key: box for box, looked in fused if looked == 1 or box.score >= STANDS}
    return tuple(sorted(standing.values(), key=lambda box: (-box.score, box.key)))


def _looked_for_boxes(reply: ServiceReply) -> bool:
    """False for a classifier's word on the whole image: it draws no boxes, so that it has none is no news."""
    return "spatial" in reply.service_types and (
        "classification" not in reply.service_types or any(seen.box for seen in reply.detections)
    )


def _looked(members: Sequence[SourcedDetection], spatial: Sequence[StoredReply]) -> int:
    """Services that could have seen this: those who know its class, and whoever saw it."""
    return sum(
        (stored.reply.knows is not None and _class(members[0]) in stored.reply.knows)
        or _has(members, stored.reply.service)
        for stored in spatial
    )


def _detections(replies: Sequence[StoredReply]) -> Iterable[SourcedDetection]:
    for stored in replies:
        for detection in stored.reply.detections:
            if detection.box is not None:
                yield SourcedDetection(
                    service=stored.reply.service, result_id=stored.result_id, detection=detection
                )


def _rank(source: SourcedDetection) -> tuple[float, str, float, float, float, float, str]:
    box = _box(source)
    return -source.detection.confidence, source.service, box.x, box.y, box.width, box.height, _class(source)


def _clusters(ranked: Sequence[SourcedDetection]) -> Iterable[list[SourcedDetection]]:
    """Groups of detections of one object, each led by its strongest; later ones join the nearest leader."""
    clusters: dict[str, list[list[SourcedDetection]]] = {}
    for source in ranked:
        same_class = clusters.setdefault(_class(source), [])
        near = sorted(
            ((iou(_box(members[0]), _box(source)), members) for members in same_class), key=lambda n: -n[0]
        )
        if any(overlap >= SAME_DETECTION and _has(members, source.service) for overlap, members in near):
            continue
        for overlap, members in near:
            if overlap >= SAME_OBJECT and not _has(members, source.service):
                members.append(source)
                break
        else:
            same_class.append([source])
    return [members for same_class in clusters.values() for members in same_class]


def _has(members: Sequence[SourcedDetection], service: str) -> bool:
    return any(member.service == service for member in members)


def _fuse(members: Sequence[SourcedDetection], looked: int) -> MergedBox:
    confidences = [member.detection.confidence for member in members]
    box = rounded(weighted_mean([_box(member) for member in members], confidences))
    return MergedBox(
        key=f"{_class(members[0])} {box.x:g},{box.y:g},{box.width:g},{box.height:g}",
        emoji=next(filter(None, (emoji.normalise(one.detection.emoji) for one in members)), ""),
        label=members[0].detection.label,
        labels=tuple(sorted({member.detection.label for member in members})),
        box=box,
        score=round(math.fsum(confidences) / looked, 4),
        avg_confidence=round(math.fsum(confidences) / len(confidences), 4),
        detections=tuple(members),
    )


def _class(source: SourcedDetection) -> str:
    return source.detection.class_name


def _box(source: SourcedDetection) -> Box:
    assert source.detection.box is not None  # noqa: S101 -- `_detections` lets no other through
    return source.detection.box
