"""What stages read: of each image all that is known of it, or that there is nothing new."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from windmill import catalog
from windmill.core import documents, replies
from windmill.errors import WindmillError
from windmill.model import Image, MergedBox, Seen, Snapshot, StoredReply
from windmill.postgres.queries import query

log = logging.getLogger(__name__)

Read = TypeVar("Read")

_SPATIAL = [name for name, facts in catalog.BUILT_IN.items() if "spatial" in facts.service_types]


def without_news(cursor: Any, seen: Seen) -> set[int]:
    """Those of the images that the stage has seen all of."""
    if not seen.image_ids:
        return set()
    asked = {
        "image_ids": list(seen.image_ids),
        "stage": seen.stage,
        "rule": seen.rule,
        "merger": catalog.MERGER,
        "voter": catalog.VOTER,
        "spatial": _SPATIAL,
    }
    cursor.execute(query("without_news"), asked)
    return {image_id for (image_id,) in cursor.fetchall()}


def snapshots(cursor: Any, image_ids: Sequence[int], *, spatial_only: bool = False) -> list[Snapshot]:
    """What is known of each of the images; of replies, if `spatial_only`, those of detectors."""
    ids = {"image_ids": list(image_ids)}
    cursor.execute(query("snapshot_images"), {**ids, "merger": catalog.MERGER})
    images = [
        (Image(image_id=image, path=path, url=url, as_is=as_is), changed)
        for image, path, url, as_is, changed in cursor.fetchall()
    ]
    cursor.execute(query("snapshot_replies"), {**ids, "spatial_only": spatial_only, "spatial": _SPATIAL})
    spoken = _group(cursor.fetchall(), _stored_reply)
    cursor.execute(query("snapshot_boxes"), ids)
    rows = cursor.fetchall()
    boxes = _group(rows, _stored_box)
    served = _group(rows, _served)
    return [
        Snapshot(
            image=image,
            replies=tuple(spoken[image.image_id]),
            boxes=tuple(boxes[image.image_id]),
            postprocessed=frozenset(pair for pairs in served[image.image_id] for pair in pairs),
            boxes_changed=changed,
        )
        for image, changed in images
    ]


def _group(rows: Iterable[tuple[Any, ...]], read: Callable[..., Read | None]) -> defaultdict[int, list[Read]]:
    """What `read` makes of the rows, by their first column, the image id."""
    groups: defaultdict[int, list[Read]] = defaultdict(list)
    for image_id, *fields in rows:
        value = read(image_id, *fields)
        if value is not None:
            groups[image_id].append(value)
    return groups


def _stored_reply(
    image_id: int,
    result_id: int,
    created: Any,
    name: str,
    types: list[str] | None,
    bbox_format: str | None,
    vocabulary: str | list[str] | None,
    data: Any,
) -> StoredReply | None:
    """A reply as it was checked when stored; None, with a warning, for a row that someone else wrote."""
    service = catalog.facts(name)
    if types:
        service = replace(service, service_types=tuple(types))
    if bbox_format:
        service = replace(service, bbox_format=bbox_format)
    if vocabulary:
        named = vocabulary if isinstance(vocabulary, str) else tuple(map(str, vocabulary))
        service = replace(service, vocabulary=named)
    try:
        reply = replies.read(service, data)
    except (WindmillError, ValueError) as exc:
        log.warning("image %d: result %d of %s is left out: %s", image_id, result_id, name, exc)
        return None
    return StoredReply(result_id=result_id, created=created, reply=reply)


def _stored_box(_: int, key: str, data: Any, __: list[str]) -> MergedBox:
    return documents.read_merged_box(key, data)


def _served(_: int, key: str, __: Any, services: list[str]) -> list[tuple[str, str]]:
    return [(key, service) for service in services]
