"""Where a peer's process finds the servers: in the environment that `bench.ground.environment` makes."""

from __future__ import annotations

import os
from typing import Any

import psycopg2

SERVICE = "yolov8"
COLUMNS = (
    "image_id, service, data, status, processing_time, worker_id, service_types, bbox_format, vocabulary,"
    " model_version"
)
UPSERT = f"""
INSERT INTO results ({COLUMNS}) VALUES %s
ON CONFLICT (image_id, service) DO UPDATE
SET data = excluded.data, status = excluded.status, processing_time = excluded.processing_time,
    worker_id = excluded.worker_id, service_types = excluded.service_types,
    bbox_format = excluded.bbox_format, vocabulary = excluded.vocabulary,
    model_version = excluded.model_version, result_created = clock_timestamp()
"""  # noqa: S608 -- our own words

Row = tuple[int, str, str, str, float, str, list[str], str, str, str]


def row(image_id: int, reply: str) -> Row:
    """All that Windmill writes of a reply, of which a peer knows as much."""
    return (image_id, SERVICE, reply, "success", 0.0, str(os.getpid()), ["spatial"], "xywh", '"coco"', "")


def amqp() -> str:
    """RabbitMQ's address; without one (an import by a test) none that answers."""
    host, port = os.environ.get("QUEUE_HOST", "127.0.0.1"), os.environ.get("QUEUE_PORT", "1")
    return f"amqp://guest:guest@{host}:{port}/{os.environ.get('QUEUE_VHOST', '')}"


def database() -> Any:
    """A connection that commits each statement by itself, and waits for the disk as the server does."""
    connection = psycopg2.connect(
        host=os.environ["DB_HOST"],
        port=os.environ["DB_PORT"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
    )
    connection.autocommit = True
    return connection


def service() -> tuple[str, int]:
    """Host and port of the instant service."""
    return "127.0.0.1", int(os.environ["BENCH_SERVICE_PORT"])


def threads() -> int:
    """Threads of this process."""
    return int(os.environ.get("WORKER_CONCURRENCY", "1"))
