"""Signs of life."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Health(StrEnum):
    """Status of a worker in `worker_heartbeats`."""

    STARTING = "starting"
    ALIVE = "alive"
    STOPPING = "stopping"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """One sign of life of one worker. `queue_depth` is None when the broker could not be asked."""

    worker_id: str
    service_name: str
    node_hostname: str
    status: Health
    jobs_completed: int
    jobs_per_minute: float
    last_job_time: datetime | None
    queue_depth: int | None
    error_message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A worker's latest heartbeat, and how long ago it was by the database's clock."""

    heartbeat: Heartbeat
    silent_seconds: float
