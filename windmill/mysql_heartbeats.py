"""Heartbeats in MySQL or MariaDB; the one module that knows mysql.connector."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import mysql.connector
from mysql.connector import errorcode

from windmill.errors import ConfigError, StoreError, StoreUnavailable, WindmillError
from windmill.model import Health, Heartbeat, Sighting
from windmill.settings import Settings

_TIMEOUT = 5  # seconds to connect, and for one statement
_LONGEST_ERROR = 2000  # characters
_KEPT_DAYS = 7
_PRUNE_EVERY = 100  # beats

_LOGIN = (errorcode.ER_ACCESS_DENIED_ERROR, errorcode.ER_BAD_DB_ERROR, errorcode.ER_DBACCESS_DENIED_ERROR)

_INSERT = """
INSERT INTO worker_heartbeats (worker_id, service_name, node_hostname, status, jobs_completed,
                               jobs_per_minute, last_job_time, queue_depth, error_message)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
_PRUNE = "DELETE FROM worker_heartbeats WHERE worker_id = %s AND timestamp < NOW() - INTERVAL %s DAY"
_LATEST = """
SELECT h.worker_id, h.service_name, h.node_hostname, h.status, h.jobs_completed, h.jobs_per_minute,
       h.last_job_time, h.queue_depth, h.error_message,
       TIMESTAMPDIFF(MICROSECOND, h.timestamp, NOW(3)) / 1e6
FROM worker_heartbeats h
JOIN (SELECT worker_id, MAX(id) AS id FROM worker_heartbeats
      WHERE timestamp > NOW() - INTERVAL %s DAY GROUP BY worker_id) AS latest ON latest.id = h.id
ORDER BY h.service_name, h.worker_id"""
_COMPLETED = """
SELECT service_name, SUM(GREATEST(done, 0)) FROM (
    SELECT worker_id, service_name, MAX(jobs_completed) - MIN(jobs_completed) AS done
    FROM worker_heartbeats WHERE timestamp > NOW() - INTERVAL %s SECOND
    GROUP BY worker_id, service_name) AS per_worker
GROUP BY service_name"""
_ERRORS = """
SELECT worker_id, service_name, error_message, COUNT(*), TIMESTAMPDIFF(SECOND, MAX(timestamp), NOW())
FROM worker_heartbeats
WHERE error_message IS NOT NULL AND timestamp > NOW() - INTERVAL %s SECOND
GROUP BY worker_id, service_name, error_message
ORDER BY MAX(timestamp) DESC LIMIT 50"""


class MySQLHeartbeats:
    """A `ports.HeartbeatSink` and `ports.HeartbeatLog`. Connects when needed, and anew after a loss."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None
        self._lock = threading.Lock()
        self._beats = 0

    def write(self, heartbeat: Heartbeat) -> None:
        """See `ports.HeartbeatSink`."""
        last = heartbeat.last_job_time
        values = (
            heartbeat.worker_id[:255],
            heartbeat.service_name[:100],
            heartbeat.node_hostname[:255],
            heartbeat.status.value,
            heartbeat.jobs_completed,
            heartbeat.jobs_per_minute,
            last.astimezone(UTC).replace(tzinfo=None) if last else None,
            heartbeat.queue_depth,
            heartbeat.error_message[:_LONGEST_ERROR] if heartbeat.error_message else None,
        )
        with self._cursor() as cursor:
            cursor.execute(_INSERT, values)
            if self._beats % _PRUNE_EVERY == 0:
                cursor.execute(_PRUNE, (heartbeat.worker_id, _KEPT_DAYS))
        self._beats += 1

    def latest(self) -> Sequence[Sighting]:
        """See `ports.HeartbeatLog`."""
        with self._cursor() as cursor:
            cursor.execute(_LATEST, (_KEPT_DAYS,))
            return [_sighting(row) for row in cursor.fetchall()]

    def completed(self, seconds: float) -> dict[str, int]:
        """See `ports.HeartbeatLog`."""
        with self._cursor() as cursor:
            cursor.execute(_COMPLETED, (seconds,))
            return {service: int(count) for service, count in cursor.fetchall()}

    def errors(self, seconds: float) -> Sequence[tuple[str, str, str, int, float]]:
        """See `ports.HeartbeatLog`."""
        with self._cursor() as cursor:
            cursor.execute(_ERRORS, (seconds,))
            return [(w, s, text, int(count), float(ago)) for w, s, text, count, ago in cursor.fetchall()]

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._drop()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor; after an error the connection is dropped, so that the next call begins afresh."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                with self._connection.cursor() as cursor:
                    yield cursor
            except (mysql.connector.Error, OSError) as exc:
                self._drop()
                raise self._translated(exc) from exc

    def _connect(self) -> Any:
        return mysql.connector.connect(
            host=self._settings.monitoring_db_host,
            port=self._settings.monitoring_db_port,
            database=self._settings.monitoring_db_name,
            user=self._settings.monitoring_db_user,
            password=self._settings.monitoring_db_password,
            connection_timeout=_TIMEOUT,
            autocommit=True,
            use_pure=True,  # the C extension's errors do not say which host
            charset="utf8mb4",
            time_zone="+00:00",
        )

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _translated(self, exc: Exception) -> WindmillError:
        where = f"MySQL at {self._settings.monitoring_db_host}:{self._settings.monitoring_db_port}"
        code = getattr(exc, "errno", None)
        text = " ".join(str(exc).split())
        if code in _LOGIN:
            names = "MONITORING_DB_NAME, MONITORING_DB_USER and MONITORING_DB_PASSWORD"
            return ConfigError(f"{where} refuses us: {text}; check {names}")
        if code == errorcode.ER_NO_SUCH_TABLE:
            return ConfigError(f"{where} lacks worker_heartbeats: run schema.mysql.sql there")
        if isinstance(exc, mysql.connector.OperationalError | mysql.connector.InterfaceError | OSError):
            return StoreUnavailable(f"{where} cannot be reached: {text}")
        return StoreError(f"{where}: {text}")


def _sighting(row: Sequence[Any]) -> Sighting:
    worker, service, node, status, completed, rate, last, depth, error, silent = row
    heartbeat = Heartbeat(
        worker_id=worker,
        service_name=service,
        node_hostname=node,
        status=Health(status),
        jobs_completed=completed,
        jobs_per_minute=rate,
        last_job_time=last.replace(tzinfo=UTC) if last else None,
        queue_depth=depth,
        error_message=error,
    )
    return Sighting(heartbeat=heartbeat, silent_seconds=float(silent))
