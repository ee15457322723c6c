"""The writing side of the database: one transaction a call, and every save an upsert."""

from __future__ import annotations

import json
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
    DeadRow,
    DispatchRow,
    Image,
    MergedBox,
    MergedBoxesRow,
    Outcome,
    PostprocessingRow,
    ResultRow,
    Snapshot,
    StageRow,
    State,
    Status,
    StoredReply,
)
from windmill.plain import line
from windmill.postgres.connection import Session
from windmill.postgres.queries import composed, query
from windmill.settings import Settings

log = logging.getLogger(__name__)

RowType = TypeVar("RowType")
AnswerType = TypeVar("AnswerType", ResultRow, PostprocessingRow)
_PAGE = 1000
_TARGETS = {True: "about_a_box", False: "about_an_image"}
_OVERTAKEN = "a newer version of the model has answered already"
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
        self._versions: set[tuple[str, str]] = set()  # known to be in service_versions
        self._told: set[tuple[str, str]] = set()  # that they are overtaken

    def save(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            versions = self._write(cursor, outcomes)
        self._versions |= versions

    def recompute(self, image_ids: Sequence[int], step: Callable[[Snapshot], Outcome]) -> Sequence[Outcome]:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("lock_images"), {"image_ids": list(image_ids)})
            outcomes = [step(snapshot) for snapshot in snapshots(cursor, image_ids)]
            versions = self._write(cursor, outcomes)
        self._versions |= versions
        return outcomes

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    # --- writing -------------------------------------------------------------------------------------

    def _write(self, cursor: Any, outcomes: Sequence[Outcome]) -> set[tuple[str, str]]:
        """Gives the versions that are in the database once this is committed."""
        rows = [row for outcome in outcomes for row in outcome.rows]
        versions = self._note_versions(cursor, _of(rows, ResultRow), _of(rows, PostprocessingRow))
        overtaken = self._write_results(cursor, _of(rows, ResultRow))
        self._write_dispatches(cursor, _of(rows, DispatchRow), overtaken)
        changed = self._write_boxes(cursor, _of(rows, MergedBoxesRow))
        self._write_consensus(cursor, _of(rows, ConsensusRow))
        self._write_stages(cursor, _of(rows, StageRow), changed)
        self._write_postprocessing(cursor, _of(rows, PostprocessingRow))
        self._write_dead(cursor, _of(rows, DeadRow))
        return versions

    def _note_versions(
        self, cursor: Any, *rows: Sequence[ResultRow] | Sequence[PostprocessingRow]
    ) -> set[tuple[str, str]]:
        said = {(row.service, row.model_version) for some in rows for row in some if row.model_version}
        _many(cursor, "note_versions", sorted(said - self._versions))
        return said

    def _write_results(self, cursor: Any, rows: Sequence[ResultRow]) -> set[tuple[int, str]]:
        """Gives image and service of each success that came too late to be written."""
        latest = _last({(row.image_id, row.service): row for row in _successes_last(rows)})
        results = [
            (r.image_id, r.service, _clean(r.data), r.status, r.processing_time, self._worker,
             list(r.service_types), r.bbox_format, json.dumps(r.vocabulary), r.model_version)
            for r in latest
        ]  # fmt: skip
        template = "(%s, %s, %s::jsonb, %s, %s, %s, %s::text[], %s, %s::jsonb, %s)"
        written = _many(cursor, "save_results", results, template, fetch=True)
        successes = {(row.image_id, row.service): row for row in latest if row.status is Status.SUCCESS}
        overtaken = successes.keys() - set(written)
        self._warn({(key[1], successes[key].model_version) for key in overtaken})
        return overtaken

    def _warn(self, overtaken: set[tuple[str, str]]) -> None:
        """Once for each version."""
        for service, version in sorted(overtaken - self._told):
            log.warning(
                "%s answers as %s, and a newer version has answered before: such answers are left out"
                " (windmill rerun --service %s --stale --version makes it current)",
                service, line(version, 100), service,
            )  # fmt: skip
        self._told |= overtaken

    def _write_dispatches(
        self, cursor: Any, rows: Sequence[DispatchRow], overtaken: set[tuple[int, str]]
    ) -> None:
        latest = [
            replace(row, state=State.SKIPPED, found=None, error=_OVERTAKEN)
            if (row.image_id, row.service) in overtaken
            else row
            for row in _last({(row.image_id, row.service, row.version): row for row in _done_last(rows)})
        ]
        if latest:
            columns = {
                "image_ids": [row.image_id for row in latest],
                "services": [row.service for row in latest],
                "versions": [row.version for row in latest],
                "states": [row.state for row in latest],
                "attempts": [int(row.attempted) for row in latest],
                "found": [row.found for row in latest],
                "error_classes": [row.error_class for row in latest],
                "errors": [row.error and row.error.replace("\0", "\ufffd") for row in latest],
            }
            cursor.execute(query("settle_dispatches"), {**columns, "worker": self._worker})

    def _write_boxes(self, cursor: Any, rows: Sequence[MergedBoxesRow]) -> set[int]:
        """Gives the images whose boxes are others now."""
        kept = [(row.image_id, [box.key for box in row.boxes]) for row in rows]
        deleted = _many(cursor, "delete_other_boxes", kept, "(%s::bigint, %s::text[])", fetch=True)
        boxes = [
            (
                row.image_id,
                box.key,
                list(box.source_result_ids),
                documents.merged_box(box, row.rule),
                self._worker,
            )
            for row in rows
            for box in row.boxes
        ]
        saved = _many(cursor, "save_boxes", boxes, "(%s, %s, %s::bigint[], %s::jsonb, %s)", fetch=True)
        return {image_id for (image_id,) in (*deleted, *saved)}

    def _write_consensus(self, cursor: Any, rows: Sequence[ConsensusRow]) -> None:
        values = [
            (row.image_id, documents.consensus(row.consensus), row.processing_time, self._worker)
            for row in _last({row.image_id: row for row in rows})
        ]
        _many(cursor, "save_consensus", values, "(%s, %s::jsonb, %s, %s)")

    def _write_stages(self, cursor: Any, rows: Sequence[StageRow], changed: set[int]) -> None:
        values = [
            (row.image_id, row.stage, json.dumps(row.seen), row.found, row.rule, self._worker)
            for row in _last({(row.image_id, row.stage): row for row in rows})
        ]
        _many(cursor, "save_stages", values, "(%s, %s, %s::jsonb, %s, %s, %s)")
        if changed:
            cursor.execute(query("mark_changed"), {"stage": catalog.MERGER, "image_ids": list(changed)})

    def _write_dead(self, cursor: Any, rows: Sequence[DeadRow]) -> None:
        values = [
            (row.service, row.image_id, row.body, row.attempts, row.error_class,
             row.error.replace("\0", "\ufffd"), self._worker)
            for row in _last({(row.service, row.body): row for row in rows})
        ]  # fmt: skip
        _many(cursor, "bury", values)

    def _write_postprocessing(self, cursor: Any, rows: Sequence[PostprocessingRow]) -> None:
        rows = _successes_last(rows)
        latest = _last({(row.image_id, row.box_key or "", row.service): row for row in rows})
        boxes = _box_ids(cursor, [row for row in latest if row.box_key is not None])
        for about_box, target in _TARGETS.items():
            values = [
                (row.image_id, boxes.get((row.image_id, row.box_key)), row.service, _clean(row.data),
                 row.status, self._worker, row.model_version)
                for row in latest
                if (row.box_key is not None) is about_box
            ]  # fmt: skip
            template = "(%s, %s, %s, %s::jsonb, %s, %s, %s)"
            _many(cursor, "save_postprocessing", values, template, target=target)


def _of(rows: Iterable[Any], kind: type[RowType]) -> list[RowType]:
    return [row for row in rows if isinstance(row, kind)]


def _successes_last(rows: Iterable[AnswerType]) -> list[AnswerType]:
    """So that within a batch, too, no failure replaces a success."""
    return sorted(rows, key=lambda row: row.status is Status.SUCCESS)


def _done_last(rows: Iterable[DispatchRow]) -> list[DispatchRow]:
    return sorted(rows, key=lambda row: row.state is State.DONE)


def _last(rows: Mapping[Any, RowType]) -> list[RowType]:
    """One row a key, in an order that two workers share, so that they cannot deadlock."""
    return [rows[key] for key in sorted(rows)]


def _many(
    cursor: Any,
    name: str,
    rows: Sequence[tuple[Any, ...]],
    template: str | None = None,
    *,
    fetch: bool = False,
    **parts: str,
) -> list[tuple[Any, ...]]:
    """Sends all rows in one statement; gives what it returns, if asked to."""
    if not rows:
        return []
    found = execute_values(cursor, composed(name, **parts), rows, template, page_size=_PAGE, fetch=fetch)
    return found or []


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
    found = _many(cursor, "box_ids", sorted(wanted, key=repr), "(%s::bigint, %s::text)", fetch=True)
    ids: dict[tuple[int, str | None], int] = {(image, key): merged_id for image, key, merged_id in found}
    for image_id, key in wanted - ids.keys():
        raise StaleBox(f"image {image_id}: box {key} was replaced meanwhile")
    return ids


# --- reading -----------------------------------------------------------------------------------------


def snapshots(cursor: Any, image_ids: Sequence[int]) -> list[Snapshot]:
    """What is known of each of the images."""
    ids = {"image_ids": list(image_ids)}
    cursor.execute(query("snapshot_images"), {**ids, "merger": catalog.MERGER})
    images = [
        (Image(image_id=image, path=path, url=url, as_is=as_is), changed)
        for image, path, url, as_is, changed in cursor.fetchall()
    ]
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
            boxes_changed=changed,
        )
        for image, changed in images
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
