"""The writing side of the database: one transaction a call, and every save an upsert."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from psycopg2.extras import execute_values

from windmill import catalog
from windmill.core import documents, replies
from windmill.errors import StaleBox, WindmillError
from windmill.model import (
    ConsensusRow,
    Image,
    MergedBox,
    MergedBoxesRow,
    Outcome,
    PostprocessingRow,
    ResultRow,
    Snapshot,
    Status,
    StoredReply,
)
from windmill.postgres.connection import Session
from windmill.postgres.queries import query
from windmill.settings import Settings

log = logging.getLogger(__name__)

RowType = TypeVar("RowType")
_PAGE = 1000
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, as ensure_ascii writes it
    r"|(?P<unstorable>\\u0000|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff])"
    r"|\\[^u]"  # so that the second \ of \\u0000 does not begin an escape
)


class PostgresStore:
    """A `ports.Store`, for the one thread that commits. Writes under the name of `worker_id`."""

    def __init__(self, settings: Settings, worker_id: str) -> None:
        self._session = Session(settings, worker_id)
        self._worker = worker_id

    def save(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            self._write(cursor, outcomes)

    def recompute(self, image_ids: Sequence[int], step: Callable[[Snapshot], Outcome]) -> Sequence[Outcome]:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("lock_images"), {"image_ids": list(image_ids)})
            outcomes = [step(snapshot) for snapshot in _snapshots(cursor, image_ids)]
            self._write(cursor, outcomes)
        return outcomes

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    # --- writing -------------------------------------------------------------------------------------

    def _write(self, cursor: Any, outcomes: Sequence[Outcome]) -> None:
        rows = [row for outcome in outcomes for row in outcome.rows]
        self._write_results(cursor, _of(rows, ResultRow))
        self._write_boxes(cursor, _of(rows, MergedBoxesRow))
        self._write_consensus(cursor, _of(rows, ConsensusRow))
        self._write_postprocessing(cursor, _of(rows, PostprocessingRow))

    def _write_results(self, cursor: Any, rows: Sequence[ResultRow]) -> None:
        latest = _last({(row.image_id, row.service): row for row in rows})
        results = [
            (r.image_id, r.service, _clean(r.data), r.status, r.processing_time, self._worker,
             list(r.service_types), r.bbox_format)
            for r in latest
        ]  # fmt: skip
        _many(cursor, "save_results", results, "(%s, %s, %s::jsonb, %s, %s, %s, %s::text[], %s)")
        dispatches = [
            (r.image_id, r.service, "done" if r.status is Status.SUCCESS else "failed", r.found, r.error)
            for r in latest
        ]
        _many(cursor, "settle_dispatches", dispatches, "(%s, %s, %s, %s, %s, now())")

    def _write_boxes(self, cursor: Any, rows: Sequence[MergedBoxesRow]) -> None:
        kept = [(row.image_id, [box.key for box in row.boxes]) for row in rows]
        _many(cursor, "delete_other_boxes", kept, "(%s::bigint, %s::text[])")
        boxes = [
            (row.image_id, box.key, list(box.source_result_ids), documents.merged_box(box), self._worker)
            for row in rows
            for box in row.boxes
        ]
        _many(cursor, "save_boxes", boxes, "(%s, %s, %s::bigint[], %s::jsonb, %s)")

    def _write_consensus(self, cursor: Any, rows: Sequence[ConsensusRow]) -> None:
        values = [
            (row.image_id, documents.consensus(row.consensus), row.processing_time, self._worker)
            for row in _last({row.image_id: row for row in rows})
        ]
        _many(cursor, "save_consensus", values, "(%s, %s::jsonb, %s, %s)")

    def _write_postprocessing(self, cursor: Any, rows: Sequence[PostprocessingRow]) -> None:
        latest = _last({(row.image_id, row.box_key, row.service): row for row in rows})
        boxes = _box_ids(cursor, [row for row in latest if row.box_key is not None])
        for name, wanted in (("save_box_postprocessing", True), ("save_image_postprocessing", False)):
            values = [
                (row.image_id, boxes.get((row.image_id, row.box_key)), row.service, _clean(row.data),
                 row.status, self._worker)
                for row in latest
                if (row.box_key is not None) is wanted
            ]  # fmt: skip
            _many(cursor, name, values, "(%s, %s, %s, %s::jsonb, %s, %s)")


def _of(rows: Iterable[Any], kind: type[RowType]) -> list[RowType]:
    return [row for row in rows if isinstance(row, kind)]


def _last(rows: Mapping[Any, RowType]) -> list[RowType]:
    """One row a key, in an order that two workers share, so that they cannot deadlock."""
    return [rows[key] for key in sorted(rows, key=repr)]


def _many(cursor: Any, name: str, rows: Sequence[tuple[Any, ...]], template: str) -> None:
    if rows:
        execute_values(cursor, query(name), rows, template, page_size=_PAGE)


def _clean(document: str) -> str:
    """JSON text with � for what jsonb cannot hold: NUL, and half of a pair that makes one character."""
    return _ESCAPE.sub(_held, document)


def _held(escape: re.Match[str]) -> str:
    return "�" if escape["unstorable"] else escape[0]


def _box_ids(cursor: Any, rows: Sequence[PostprocessingRow]) -> dict[tuple[int, str | None], int]:
    """`merged_id` of each box, locked against being replaced. Raises `StaleBox` if one already was."""
    wanted = {(row.image_id, row.box_key) for row in rows}
    if not wanted:
        return {}
    found = execute_values(
        cursor,
        query("box_ids"),
        sorted(wanted, key=repr),
        "(%s::bigint, %s::text)",
        page_size=_PAGE,
        fetch=True,
    )
    ids: dict[tuple[int, str | None], int] = {(image, key): merged_id for image, key, merged_id in found}
    for image_id, key in wanted - ids.keys():
        raise StaleBox(f"image {image_id}: box {key} was replaced meanwhile")
    return ids


# --- reading -----------------------------------------------------------------------------------------


def _snapshots(cursor: Any, image_ids: Sequence[int]) -> list[Snapshot]:
    ids = {"image_ids": list(image_ids)}
    cursor.execute(query("snapshot_images"), ids)
    images = [Image(image_id=image, path=path, url=url) for image, path, url in cursor.fetchall()]
    cursor.execute(query("snapshot_replies"), ids)
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
        )
        for image in images
    ]


def _group(
    rows: Iterable[tuple[Any, ...]], read: Callable[..., RowType | None]
) -> defaultdict[int, list[RowType]]:
    """What `read` makes of the rows, by their first column, the image id."""
    groups: defaultdict[int, list[RowType]] = defaultdict(list)
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
    data: Any,
) -> StoredReply | None:
    """A reply as it was checked when stored; None, with a warning, for a row that someone else wrote."""
    service = catalog.facts(name)
    if types:
        service = replace(service, service_types=tuple(types))
    if bbox_format:
        service = replace(service, bbox_format=bbox_format)
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
