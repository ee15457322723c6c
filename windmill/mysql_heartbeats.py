"""Heartbeats in MySQL or MariaDB; the one module that knows mysql.connector."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import mysql.connector
from mysql.connector import errorcode, errors

from windmill import tls
from windmill.errors import ConfigError, StoreError, StoreUnavailable, WindmillError
from windmill.model import Health, Heartbeat, Sighting
from windmill.settings import Settings

log = logging.getLogger(__name__)

_TIMEOUT = 5  # seconds to connect, and for each write
_PATIENCE = 30  # seconds for a query of the monitor
_GOODBYE = 0.5  # seconds that closing waits for a write in hand
_LONGEST_ERROR = 2000  # characters
_KEPT_DAYS = 7
_PRUNE_EVERY = 100  # beats

_LOGIN = (
    errorcode.ER_ACCESS_DENIED_ERROR,
    errorcode.ER_BAD_DB_ERROR,
    errorcode.ER_DBACCESS_DENIED_ERROR,
    errorcode.ER_TABLEACCESS_DENIED_ERROR,
    errorcode.ER_COLUMNACCESS_DENIED_ERROR,
)
_PASSING = (
    mysql.connector.OperationalError,
    mysql.connector.InterfaceError,
    errors.ConnectionTimeoutError,
    errors.ReadTimeoutError,
    errors.WriteTimeoutError,
    OSError,
)
_BUSY = (errorcode.ER_LOCK_WAIT_TIMEOUT, errorcode.ER_LOCK_DEADLOCK)

_INSERT = """
INSERT INTO worker_heartbeats (worker_id, service_name, node_hostname, status, jobs_completed,
                               jobs_per_minute, last_job_time, queue_depth, error_message)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""
# Anyone's rows, for a worker's own id may never come back; ten times as many as were written meanwhile.
_PRUNE = """
DELETE FROM worker_heartbeats WHERE timestamp < NOW() - INTERVAL %s DAY ORDER BY timestamp LIMIT 1000"""
_LATEST = """
SELECT h.worker_id, h.service_name, h.node_hostname, h.status, h.jobs_completed, h.jobs_per_minute,
       h.last_job_time, h.queue_depth, h.error_message,
       TIMESTAMPDIFF(MICROSECOND, h.timestamp, NOW(3)) / 1e6
FROM worker_heartbeats h
JOIN (SELECT worker_id, service_name, node_hostname, MAX(timestamp) AS timestamp
      FROM worker_heartbeats GROUP BY worker_id, service_name, node_hostname) AS latest
USING (worker_id, service_name, node_hostname, timestamp)
WHERE h.timestamp > NOW() - INTERVAL %s DAY
ORDER BY h.id"""
# A worker's count begins anew when it does, under the same id if WORKER_ID is set.
_COMPLETED = """
SELECT service_name, SUM(jobs), TIMESTAMPDIFF(MICROSECOND, MIN(timestamp), MAX(timestamp)) / 1e6
FROM (SELECT service_name, timestamp,
             CASE WHEN status = 'starting' THEN jobs_completed
                  WHEN before_it IS NULL THEN 0
                  WHEN before_it > jobs_completed THEN jobs_completed
                  ELSE jobs_completed - before_it END AS jobs
      FROM (SELECT service_name, timestamp, status, jobs_completed,
                   LAG(jobs_completed) OVER (PARTITION BY worker_id, service_name ORDER BY id) AS before_it
            FROM worker_heartbeats WHERE timestamp > NOW(3) - INTERVAL %s SECOND) AS beats) AS steps
GROUP BY service_name"""
_ERRORS = """
SELECT worker_id, service_name, error_message, COUNT(*),
       TIMESTAMPDIFF(MICROSECOND, MAX(timestamp), NOW(3)) / 1e6
FROM worker_heartbeats
WHERE error_message IS NOT NULL AND timestamp > NOW(3) - INTERVAL %s SECOND
GROUP BY worker_id, service_name, error_message
ORDER BY MAX(timestamp) DESC LIMIT 50"""


class MySQLHeartbeats:
    """A `ports.HeartbeatSink` and `ports.HeartbeatLog`. Connects when needed, and anew after a loss.

    Raises `ConfigError` for a wrong password, database or permission and for a missing table, else
    `StoreUnavailable` or `StoreError`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None
        self._lock = threading.Lock()
        self._closed = False
        self._beats = 0

    def write(self, heartbeat: Heartbeat) -> None:
        """See `ports.HeartbeatSink`. Takes some seconds at most, also when the server hangs."""
        last = heartbeat.last_job_time
        error = heartbeat.error_message
        values = (
            _text(heartbeat.worker_id, 255),
            _text(heartbeat.service_name, 100),
            _text(heartbeat.node_hostname, 255),
            heartbeat.status.value,
            heartbeat.jobs_completed,
            heartbeat.jobs_per_minute,
            last.astimezone(UTC).replace(tzinfo=None) if last else None,
            heartbeat.queue_depth,
            _text(error, _LONGEST_ERROR) if error else None,
        )
        with self._cursor(_TIMEOUT) as cursor:
            cursor.execute(_INSERT, values)
        if self._beats % _PRUNE_EVERY == 0:
            self._prune()
        self._beats += 1

    def latest(self) -> Sequence[Sighting]:
        """See `ports.HeartbeatLog`."""
        with self._cursor(_PATIENCE) as cursor:
            cursor.execute(_LATEST, (_KEPT_DAYS,))
            # One worker may have moved to another node, or written twice in a millisecond.
            latest = {row[1::-1]: row for row in cursor.fetchall()}  # by service and worker
        return [_sighting(row) for _, row in sorted(latest.items())]

    def completed(self, seconds: float) -> dict[str, tuple[int, float]]:
        """See `ports.HeartbeatLog`."""
        with self._cursor(_PATIENCE) as cursor:
            cursor.execute(_COMPLETED, (seconds,))
            return {service: (int(jobs), float(covered)) for service, jobs, covered in cursor.fetchall()}

    def errors(self, seconds: float) -> Sequence[tuple[str, str, str, int, float]]:
        """See `ports.HeartbeatLog`."""
        with self._cursor(_PATIENCE) as cursor:
            cursor.execute(_ERRORS, (seconds,))
            return [(w, s, text, int(count), float(ago)) for w, s, text, count, ago in cursor.fetchall()]

    def close(self) -> None:
        """Closes the connection for good; a statement that hangs is left to its own time limit."""
        self._closed = True
        if self._lock.acquire(timeout=_GOODBYE):
            self._drop()
            self._lock.release()

    def _prune(self) -> None:
        """Deletes what is too old; if that fails, as when two do it at once, there is a next time."""
        try:
            with self._cursor(_TIMEOUT) as cursor:
                cursor.execute(_PRUNE, (_KEPT_DAYS,))
        except WindmillError as error:
            log.info("old heartbeats are not deleted: %s", error)

    @contextmanager
    def _cursor(self, patience: int) -> Iterator[Any]:
        """A cursor; after an error the connection is dropped, so that the next call begins afresh."""
        with self._lock:
            try:
                connection = self._opened()
                connection.read_timeout = patience
                yield connection.cursor()
            except (mysql.connector.Error, OSError) as exc:
                self._drop()
                raise self._translated(exc) from exc
            finally:
                if self._closed:
                    self._drop()

    def _opened(self) -> Any:
        if self._closed:
            raise StoreUnavailable("the connection to MySQL has been closed")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> Any:
        return mysql.connector.connect(
            host=self._settings.monitoring_db_host,
            port=self._settings.monitoring_db_port,
            database=self._settings.monitoring_db_name,
            user=self._settings.monitoring_db_user,
            password=self._settings.monitoring_db_password,
            connection_timeout=_TIMEOUT,
            read_timeout=_TIMEOUT,  # without these, a server that hangs would hold its caller for ever
            write_timeout=_TIMEOUT,
            autocommit=True,
            allow_local_infile=False,  # by default a server may ask for any file that we can read
            use_pure=True,  # the C extension's errors do not say which host
            charset="utf8mb4",
            time_zone="+00:00",
            **self._tls_arguments(),
        )

    def _tls_arguments(self) -> dict[str, Any]:
        """Without MONITORING_DB_SSL the connector encrypts where the server can, to whoever it is."""
        wish = self._settings.monitoring_db_tls
        if not wish.wanted:
            return {}
        tls.context(wish)  # the connector's own complaints about the files name no setting
        return {
            "ssl_verify_cert": True,  # also has it refuse a server that offers plain text only
            "ssl_verify_identity": True,
            "ssl_ca": wish.ca,
            **({"ssl_cert": wish.cert, "ssl_key": wish.key} if wish.cert else {}),
        }

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _translated(self, exc: Exception) -> WindmillError:
        where = f"MySQL at {self._settings.monitoring_db_host}:{self._settings.monitoring_db_port}"
        code = getattr(exc, "errno", None)
        text = " ".join(str(exc).split())
        if found := self._tls_refusal(exc, where):
            return found
        if code in _LOGIN:
            names = "MONITORING_DB_NAME, MONITORING_DB_USER and MONITORING_DB_PASSWORD"
            return ConfigError(f"{where} refuses us: {text}; check {names}")
        if code == errorcode.ER_NO_SUCH_TABLE:
            return ConfigError(f"{where} lacks worker_heartbeats: run schema.mysql.sql there")
        if code in _BUSY:
            return StoreUnavailable(f"{where} is busy: {text}")
        if isinstance(exc, _PASSING):
            return StoreUnavailable(f"{where} cannot be reached: {text}; check MONITORING_DB_HOST and _PORT")
        return StoreError(f"{where}: {text}")

    def _tls_refusal(self, exc: Exception, where: str) -> ConfigError | None:
        wish = self._settings.monitoring_db_tls
        if getattr(exc, "errno", None) == errorcode.CR_SSL_CONNECTION_ERROR:
            return tls.no_tls(wish, where)
        return tls.refusal(exc.__cause__, wish, where) if exc.__cause__ else None


def _text(value: str, longest: int) -> str:
    """What the column can hold: no longer, and without the halves of characters that odd file names bring."""
    return value[:longest].encode("utf-8", "replace").decode()


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
