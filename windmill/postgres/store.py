"""The writing side of the database: one transaction a call, and every save an upsert."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from psycopg2.extras import execute_values

from windmill import catalog
from windmill.core import documents
from windmill.errors import StaleBox
from windmill.model import (
    NOTHING_SEEN,
    ConsensusRow,
    DeadRow,
    DispatchRow,
    MergedBoxesRow,
    Outcome,
    PostprocessingRow,
    ResultRow,
    Seen,
    Snapshot,
    StageRow,
    State,
    Status,
)
from windmill.plain import line
from windmill.postgres.connection import Session
from windmill.postgres.queries import composed, query
from windmill.postgres.snapshots import snapshots, without_news
from windmill.settings import Settings

log = logging.getLogger(__name__)

RowType = TypeVar("RowType")
AnswerType = TypeVar("AnswerType", ResultRow, PostprocessingRow)
_Description = tuple[str, tuple[str, ...], str, str | tuple[str, ...]]
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
        self._session = Session(settings, worker_id, hasty=True)
        self._worker = worker_id
        self._versions: set[tuple[str, str]] = set()  # known to be in service_versions
        self._told: set[tuple[str, str]] = set()  # that they are overtaken

    def save(self, outcomes: Sequence[Outcome]) -> None:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            versions = self._write(cursor, outcomes)
        self._versions |= versions

    def recompute(
        self, image_ids: Sequence[int], step: Callable[[Snapshot], Outcome], unless: Seen = NOTHING_SEEN
    ) -> Sequence[Outcome]:
        """See `ports.Store`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("lock_images"), {"image_ids": list(image_ids)})
            old = without_news(cursor, unless)
            images = [image_id for image_id in image_ids if image_id not in old]
            only = unless.stage == catalog.MERGER
            outcomes = [step(snapshot) for snapshot in snapshots(cursor, images, spatial_only=only)]
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
        written = [
            key
            for described, alike in groupby(latest, _description)
            for key in self._write_alike(cursor, described, list(alike))
        ]
        successes = {(row.image_id, row.service): row for row in latest if row.status is Status.SUCCESS}
        overtaken = successes.keys() - set(written)
        self._warn({(key[1], successes[key].model_version) for key in overtaken})
        return overtaken

    def _write_alike(
        self, cursor: Any, described: _Description, rows: Sequence[ResultRow]
    ) -> list[tuple[int, str]]:
        """Rows that are to be read in the same way; gives image and service of those that were written."""
        service, types, bbox_format, vocabulary = described
        values = {
            "service": service,
            "service_types": list(types),
            "bbox_format": bbox_format,
            "vocabulary": json.dumps(vocabulary),
            "worker": self._worker,
            "image_ids": [row.image_id for row in rows],
            "data": [_clean(row.data) for row in rows],
            "statuses": [row.status for row in rows],
            "times": [row.processing_time for row in rows],
            "versions": [row.model_version for row in rows],
        }
        cursor.execute(query("save_results"), values)
        return list(cursor.fetchall())

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


def _description(row: ResultRow) -> _Description:
    """What is alike in all rows of a service, or nearly all."""
    return row.service, row.service_types, row.bbox_format, row.vocabulary


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
    if "\\u" not in document and _is_encodable(document):  # nearly always, and in a tenth of the time
        return document
    return _ESCAPE.sub(_held, document)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
