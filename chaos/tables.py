"""What a run left in the tables, by natural keys, and how it differs from what was expected.

Ids, times and worker ids are left out; a result's id becomes the name of the service whose row it is, so that
a merged box that points to the wrong row is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg2

Key = tuple[str, ...]  # table, photo, and what tells its rows apart

READ: Mapping[str, str] = {
    "dispatches": "SELECT image_filename, service, jsonb_build_array(state, found) FROM dispatches",
    "results": "SELECT image_filename, service, jsonb_build_array(status, service_types, bbox_format, "
    "vocabulary, CASE WHEN status = 'success' THEN data ELSE data #> '{error,class}' END) FROM results",
    "merged_boxes": "SELECT image_filename, box_key, "
    "jsonb_build_array(status, source_result_ids, merged_data) FROM merged_boxes",
    "postprocessing": "SELECT image_filename, coalesce(box_key, ''), service, "
    "jsonb_build_array(p.status, data) FROM postprocessing p "
    "LEFT JOIN (SELECT merged_id, box_key FROM merged_boxes) m ON merged_id = merged_box_id",
    "consensus": "SELECT image_filename, consensus_data - 'latest_result_time' FROM consensus",
}
WITH_PHOTO = " JOIN images USING (image_id)"
RESULT_IDS = "SELECT result_id, image_filename, service FROM results"


@dataclass(frozen=True, slots=True)
class Tables:
    """Every row's content by its key, and how many rows have that key."""

    rows: Mapping[Key, Any]
    counts: Mapping[Key, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Keys that are missing, that have too many rows, and whose content differs."""

    lost: tuple[Key, ...] = ()
    duplicated: tuple[Key, ...] = ()
    wrong: tuple[Key, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a case leaves of a service for the marked photos: a result's status, and the error's class."""

    service: str
    status: str = "error"
    error: str = ""  # "": any


@dataclass(frozen=True, slots=True)
class Expected:
    """The tables of an undisturbed run, in which `failure.service` was not asked about `marked` photos."""

    tables: Tables
    marked: tuple[str, ...] = ()
    failure: Failure | None = None

    def difference(self, found: Tables) -> Difference:
        rows = {key: value for key, value in found.rows.items() if not self._fails(key)}
        calm = compare(self.tables, replace(found, rows=rows))
        failed = [key for key in found.rows if self._fails(key)]
        lost = len(self.marked) * 2 - len(failed) if self.failure else 0
        return Difference(
            lost=(*calm.lost, *[("failed rows", str(lost))] * bool(lost)),
            duplicated=calm.duplicated,
            wrong=(*calm.wrong, *(key for key in failed if not self._fails_rightly(key, found.rows[key]))),
        )

    def _fails(self, key: Key) -> bool:
        failure = self.failure
        return bool(failure) and key[0] in ("dispatches", "results") and key[2] == failure.service and (
            key[1] in self.marked
        )  # fmt: skip

    def _fails_rightly(self, key: Key, row: Any) -> bool:
        assert self.failure is not None
        if key[0] == "dispatches":
            return bool(row[0] == "failed")
        status, *_, error = row
        return bool(status == self.failure.status and self.failure.error in ("", error))


def compare(expected: Tables, found: Tables) -> Difference:
    """A row that nobody expected is wrong; a second row of a key is a duplicate."""
    surplus = set(found.rows) - set(expected.rows)
    differs = {key for key, row in expected.rows.items() if key in found.rows and found.rows[key] != row}
    return Difference(
        lost=tuple(sorted(set(expected.rows) - set(found.rows))),
        duplicated=tuple(sorted(key for key, count in found.counts.items() if count > 1)),
        wrong=tuple(sorted(surplus | differs)),
    )


def read(connection: Any) -> Tables:
    """The tables as they are in one snapshot. Raises psycopg2's errors."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            return _read(cursor)
        finally:
            if not connection.closed:
                cursor.execute("COMMIT")


def _read(cursor: Any) -> Tables:
    cursor.execute(RESULT_IDS + WITH_PHOTO)
    ids = {result_id: (photo, service) for result_id, photo, service in cursor.fetchall()}
    found: list[tuple[Key, Any]] = []
    for table, statement in READ.items():
        cursor.execute(statement + WITH_PHOTO)
        found += [((table, *words), _named(table, words[0], data, ids)) for *words, data in cursor.fetchall()]
    return Tables(dict(found), Counter(key for key, _ in found))


def _named(table: str, photo: str, data: Any, ids: Mapping[int, tuple[str, str]]) -> Any:
    """`data` with the services' names for the ids of their results."""
    if table != "merged_boxes":
        return data
    status, sources, merged = data
    detections = [one | {"result_id": _owner(photo, one["result_id"], ids)} for one in merged["detections"]]
    names = [_owners(photo, listed, ids) for listed in (sources, merged["source_result_ids"])]
    return [status, names[0], merged | {"source_result_ids": names[1], "detections": detections}]


def _owners(photo: str, listed: Iterable[int], ids: Mapping[int, tuple[str, str]]) -> list[str]:
    return sorted(_owner(photo, one, ids) for one in listed)


def _owner(photo: str, result_id: int, ids: Mapping[int, tuple[str, str]]) -> str:
    its_photo, service = ids.get(result_id, ("", "no such result"))
    return service if its_photo == photo else f"{service} of another photo"


OPEN = "SELECT count(*) FROM dispatches WHERE state NOT IN ('done', 'failed', 'skipped')"
PROGRESS = """
SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM dispatches WHERE settled_at IS NOT NULL),
       (SELECT count(*) FROM postprocessing), (SELECT count(*) FROM merged_boxes),
       (SELECT count(*) FROM jobs), (SELECT count(*) FROM consensus),
       (SELECT coalesce(max(consensus_created), 'epoch') FROM consensus)
"""
ERRORS = psycopg2.Error
