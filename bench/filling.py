"""Databases filled with as many images as wanted, as a long run of ten services leaves them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as PgConnection  # noqa: N812 -- a class, whatever its name
from psycopg2.extras import execute_values

from windmill.catalog import facts
from windmill.postgres import schema
from windmill.postgres.connection import connect
from windmill.postgres.queries import named
from windmill.settings import Settings

SAMPLES = Path(__file__).parents[1] / "tests" / "samples"
DETECTORS = ("yolov8", "rtdetr", "detectron2")
SERVICES = (*DETECTORS, "blip", "clip", "colors", "face", "metadata", "nsfw2", "ocr")
TABLES = ("images", "results", "dispatches", "merged_boxes", "postprocessing", "consensus", "stages",
          "dead_jobs", "jobs")  # fmt: skip
CHUNK = 10_000  # images in one transaction
GROUP = 10_000  # images in a group
PHOTO = {"x": "#n", "y": 20, "width": 50, "height": 60}

_BLOCKWISE = ("results", "dispatches", "merged_boxes", "postprocessing", "consensus", "stages")
_AT_ONCE = ("dead_jobs", "jobs")


def fill(settings: Settings, images: int) -> None:
    """Fills the empty database of `settings`; takes about 20 s for 10⁵ images on one core."""
    schema.apply(settings)
    statements = named(Path(__file__).with_name("filling.sql").read_text("utf-8"))
    with closing(connect(settings, "filling")) as connection:
        _prepare(connection)
        _run(connection, statements["images"], {"images": images, "group_size": GROUP})
        for first, last in _blocks(images):
            for table in _BLOCKWISE:
                _run(connection, statements[table], {**DOCUMENTS, "first": first, "last": last})
            sys.stderr.write(f"\r{last:,} of {images:,} images")
        for table in _AT_ONCE:
            _run(connection, statements[table], {})
        sys.stderr.write("\n")
        _finish(connection)


def _blocks(images: int) -> Iterator[tuple[int, int]]:
    for first in range(1, images + 1, CHUNK):
        yield first, min(first + CHUNK - 1, images)


def _prepare(connection: PgConnection) -> None:
    """Foreign keys hold by construction: looking each of them up would take half of the time."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica; SET synchronous_commit = off")
        cursor.execute(
            "CREATE TEMPORARY TABLE asked (number INT, name TEXT, reply TEXT, types TEXT[],"
            " bbox_format TEXT, vocabulary TEXT)"
        )
        execute_values(cursor, "INSERT INTO asked VALUES %s", [_asked(*one) for one in enumerate(SERVICES)])


def _asked(number: int, name: str) -> tuple[Any, ...]:
    known = facts(name)
    return number, name, _reply(name), list(known.service_types), known.bbox_format, known.vocabulary


def _reply(name: str) -> str:
    """What the service says, with gaps for a word and a number."""
    if name not in DETECTORS:
        return json.dumps(json.loads((SAMPLES / f"{name}.json").read_text("utf-8")), ensure_ascii=False)
    seen = [
        {"label": label, "confidence": 0.87 - 0.2 * place, "emoji": "🐕", "bbox": {**PHOTO, "y": 100 * place}}
        for place, label in enumerate(("#word", "chair", "dining table"))
    ]
    metadata = {"processing_time": 0.3, "model_info": {"framework": "ONNX Runtime", "version": f"{name} 1"}}
    return json.dumps({"service": name, "status": "success", "predictions": seen, "metadata": metadata})


def _box() -> str:
    place = {"x": 100, "y": 20, "width": 50, "height": 60}
    seen = [
        {
            "service": name,
            "result_id": 1,
            "label": "dog",
            "emoji": "🐕",
            "class": "dog",
            "confidence": 0.87,
            "bbox": place,
        }
        for name in DETECTORS
    ]
    return json.dumps(
        {
            "emoji": "🐕", "class": "dog", "label": "dog", "labels": ["dog"], "bbox": place,
            "crop": {**place, "x": "#n"}, "score": 0.93, "detection_count": 3, "avg_confidence": 0.87,
            "contributing_services": DETECTORS, "source_result_ids": [1, 2, 3], "detections": seen,
            "rule": {"name": "calibrated boxes", "version": "1"},
        }
    )  # fmt: skip


def _consensus() -> str:
    votes = [
        {"emoji": emoji, "votes": 3, "evidence_weight": 5, "final_score": 8, "evidence": {"detections": 3},
         "contributing_services": SERVICES[:4]}
        for emoji in "🐕🐈🧑🚌🪁🏄"
    ]  # fmt: skip
    return json.dumps({"services_count": len(SERVICES), "services_list": SERVICES,
                       "consensus_algorithm": "v3", "votes": {"consensus": votes}})  # fmt: skip


DOCUMENTS = {
    "box": _box(),
    "colors": (SAMPLES / "colors.json").read_text("utf-8"),
    "consensus": _consensus(),
}


def _run(connection: PgConnection, statement: str, values: Mapping[str, Any]) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(statement, values)


def _finish(connection: PgConnection) -> None:
    """Numbers go on after those that were given, and the planner knows the tables."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        for table, column in (("images", "image_id"), ("merged_boxes", "merged_id")):
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), 1000000000)", (table, column))
        cursor.execute("VACUUM ANALYZE")
