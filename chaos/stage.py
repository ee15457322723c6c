"""One run of one case with one broker: its database, its queues, its workers, and when it is over."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pika.exceptions

from chaos import photos, tables
from chaos.fleet import Fleet
from chaos.proxy import Proxy
from chaos.site import ASKED, RABBITMQ, ROOT, WORKERS, Site, waiting
from chaos.tables import Difference, Expected, Tables
from tests.waiting import until

_LOOK = 0.25  # seconds between looks
_STARTS = 60.0  # seconds for work to begin
_QUIET = 15.0  # seconds without any change, and no job in any queue, after which what is missing is lost
_LONGEST_PAUSE = 100.0  # the same while jobs wait: for their next attempt, or for a lost connection's end
_LONGEST = 300.0  # seconds after the disturbance


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: what differs, jobs left in queues, and seconds from the disturbance to the end."""

    difference: Difference
    left: Mapping[str, int]
    seconds: float


class SkippedError(Exception):
    """A case cannot be run here, for the reason given."""


class Stage:
    """What a case works with."""

    def __init__(self, site: Site, broker: str, fleet: Fleet, environment: Mapping[str, str]) -> None:
        self.site = site
        self.broker = broker
        self.fleet = fleet
        self.environment = environment
        self.notes: list[str] = []
        self.faults: list[str] = []
        self.proxy: Proxy | None = None
        self.hold = 10.0
        self._connection: Any = None

    # --- for cases -----------------------------------------------------------------------------------

    def windmill(self, *words: str) -> str:
        """Runs a command to its end; gives what it said."""
        done = self.fleet.run(*words)
        if done.returncode:
            raise RuntimeError(
                f"windmill {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}"
            )
        return done.stdout

    def reconcile(self) -> bool:
        """Runs `windmill reconcile`; False as long as there is no such command."""
        done = self.fleet.run("reconcile")
        if "no such command" in done.stderr:
            return False
        if done.returncode:
            raise RuntimeError(f"windmill reconcile ended with {done.returncode}: {done.stderr[-2000:]}")
        self.note(done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "reconciled")
        return True

    def await_results(self, share: float) -> None:
        """Until this share of all results is there."""
        wanted = share * self.site.images * len(ASKED)
        until(lambda: self.count("SELECT count(*) FROM results") >= wanted, _STARTS)

    def await_count(self, service: str, number: int) -> None:
        """Until so many results of this service are there."""
        counting = f"SELECT count(*) FROM results WHERE service = '{service}'"  # noqa: S608 -- our own name
        until(lambda: self.count(counting) >= number, _STARTS)

    def await_call(self, service: str) -> None:
        """Until a worker has a job of this service in hand."""
        until(lambda: self.site.busy(service), _STARTS)

    def await_idle(self, service: str) -> None:
        """Until nobody asks it any more: the worker that did is dead."""
        until(lambda: not self.site.busy(service), _STARTS)

    def count(self, statement: str) -> int:
        return int(self.row(statement)[0])

    def row(self, statement: str) -> tuple[Any, ...]:
        """One row; on a connection of the harness's own, which survives the server's restarts."""
        with self._connected().cursor() as cursor:
            cursor.execute(statement)
            row: tuple[Any, ...] = cursor.fetchone()
            return row

    def note(self, text: str) -> None:
        """Something that the table should say beside the counts."""
        self.notes.append(text)

    def blame(self, text: str) -> None:
        """Something that is wrong, other than a row."""
        self.faults.append(text)

    def skip(self, reason: str) -> None:
        """Ends the case: what it is about does not exist here."""
        raise SkippedError(reason)

    @property
    def line(self) -> Proxy:
        """The line between the workers and the broker."""
        assert self.proxy is not None
        return self.proxy

    def heartbeats(self) -> int:
        """How many there are in MySQL."""
        name = self.environment["MONITORING_DB_NAME"]
        with closing(self.site.mariadb.connect(name)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SELECT count(*) FROM worker_heartbeats")
            return int(cursor.fetchone()[0])

    # --- for the harness -----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Tables and images."""
        self.windmill("schema")
        for group in (photos.PLAIN, photos.MARKED):
            if any((self.site.folder / "photos" / group).iterdir()):
                self.windmill("ingest", str(self.site.folder / "photos" / group), "--group", group)

    def finish(self, expected: Expected) -> Ending:
        """Waits until all is as expected, or until nothing moves any more."""
        began = time.monotonic()
        changed, last, difference = began, None, None
        while time.monotonic() < began + _LONGEST:
            seconds = time.monotonic() - began
            progress = self._progress()
            if progress != last:
                changed, last = time.monotonic(), progress
            if progress and progress[0] == 0 and not progress[1]:
                difference = expected.difference(self.tables())
                if not difference:
                    break
            quiet = time.monotonic() - changed
            if quiet > _QUIET and (quiet > _LONGEST_PAUSE or not self._waiting()):
                break
            time.sleep(_LOOK)
        left = self._left()
        return Ending(difference=expected.difference(self.tables()), left=left, seconds=seconds)

    def tables(self) -> Tables:
        return tables.read(self._connected())

    def settled(self) -> None:
        """Until nothing is queued and nothing changes: the end of an undisturbed run."""
        quiet, last = time.monotonic(), None
        while time.monotonic() < quiet + 2:
            progress = self._progress()
            if progress != last or progress is None or progress[0] or progress[1]:
                quiet, last = time.monotonic(), progress
            time.sleep(_LOOK)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _progress(self) -> tuple[int, Any, Any] | None:
        """Open dispatches, waiting messages, and whatever shows movement; None while a server is away."""
        try:
            row = self.row(tables.PROGRESS)
            open_ = self.count(tables.OPEN)
            queues = self._waiting() if open_ == 0 else {}
        except (tables.ERRORS, pika.exceptions.AMQPError, OSError):
            self.close()
            self._connection = None
            return None
        return open_, queues, row

    def _waiting(self) -> Mapping[str, int]:
        """Jobs in the queues, but for the dead ones."""
        if self.broker == RABBITMQ:
            found = waiting(self.site.rabbitmq, self.environment["QUEUE_VHOST"], WORKERS)
            return {queue: count for queue, count in found.items() if not queue.endswith(".dead")}
        jobs = self.count("SELECT count(*) FROM jobs")
        return {"jobs": jobs} if jobs else {}

    def _left(self) -> Mapping[str, int]:
        """What the workers hand back when they stop, and what nobody took."""
        statuses = self.fleet.stop()
        if unclean := {name: status for name, status in statuses.items() if status}:
            self.blame(f"exit status of a worker that was told to stop: {unclean}")
        return self._waiting()

    def _connected(self) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = self.site.postgres.connect(self.environment["DB_NAME"])
        return self._connection


@contextmanager
def staged(
    site: Site,
    broker: str,
    *,
    extra: Mapping[str, str],
    tampered: Mapping[str, str],
    proxied: bool,
    hold: float,
) -> Iterator[Stage]:
    """A stage with its own database and vhost; its workers are not yet started."""
    with ExitStack() as stack:
        environment, proxy = _environment(
            site, broker, stack, proxied=proxied, monitored="ENABLE_MONITORING" in extra
        )
        folder = site.folder / environment["DB_NAME"]
        folder.mkdir()
        environment |= {"RUN_DIR": str(folder), **extra}
        fleet = stack.enter_context(Fleet(environment, folder, tampered))
        stage = stack.enter_context(closing(Stage(site, broker, fleet, environment)))
        stage.proxy, stage.hold = proxy, hold
        site.tell(fault="", pace=0.0, forget=True)
        stage.prepare()
        yield stage


def _environment(
    site: Site, broker: str, stack: ExitStack, *, proxied: bool, monitored: bool
) -> tuple[dict[str, str], Proxy | None]:
    """Settings for a fresh database and vhost; the broker is behind a proxy if the case cuts the line."""
    found = {
        **os.environ,
        "BROKER": broker,
        "DB_HOST": site.postgres.host,
        "DB_PORT": str(site.postgres.port),
        "DB_NAME": site.postgres.new_database(),
        "DB_USER": site.postgres.dbuser,
        "SERVICE_CONFIG": str(site.catalog),
        "REQUEST_TIMEOUT": "10",
        "SHUTDOWN_GRACE": "15",
    }
    found |= _monitoring(site) if monitored else {}
    if broker == RABBITMQ:
        server = site.rabbitmq
        found |= {
            "QUEUE_HOST": server.host,
            "QUEUE_PORT": str(server.port),
            "QUEUE_VHOST": server.new_vhost(),
        }
    if not proxied:
        return found, None
    port = "QUEUE_PORT" if broker == RABBITMQ else "DB_PORT"
    proxy = stack.enter_context(Proxy(int(found[port])))
    return found | {port: str(proxy.port)}, proxy


def _monitoring(site: Site) -> dict[str, str]:
    """Settings for a fresh database of heartbeats; a server that an earlier case killed is started."""
    server = site.mariadb
    if server.process is None:
        server.start()
    name = server.new_database()
    with closing(server.connect(name)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute((ROOT / "schema.mysql.sql").read_text("utf-8"))
    return {
        "MONITORING_DB_HOST": server.host,
        "MONITORING_DB_PORT": str(server.port),
        "MONITORING_DB_NAME": name,
        "MONITORING_DB_USER": server.dbuser,
        "MONITORING_DB_PASSWORD": server.password,
    }
