"""Connections to PostgreSQL, and the one place where psycopg2's errors become ours."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import psycopg2
import psycopg2.errors as pg
from psycopg2.extensions import connection as PgConnection  # noqa: N812 -- a class, whatever its name

from windmill import tls
from windmill.errors import ConfigError, StoreError, StoreUnavailable, WindmillError
from windmill.postgres.queries import query
from windmill.settings import Settings

log = logging.getLogger(__name__)

_CONNECT_TIMEOUT = 10  # seconds
_SILENCE = 25  # seconds without a sign of life from the other machine
_LOOKS = 5  # at a transaction, in the time that it may take

# What passes by itself: the server restarts, is full for now, or chose us as a deadlock's victim.
_PASSING = (
    psycopg2.InterfaceError,
    psycopg2.OperationalError,
    pg.AdminShutdown,
    pg.CrashShutdown,
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.ReadOnlySqlTransaction,  # a standby, or one that was the primary: connecting anew finds the other
)
_MISSING_TABLES = (pg.UndefinedTable, pg.UndefinedColumn, pg.UndefinedFunction)
# libpq gives no SQLSTATE for a refused login, only text; these are the server's own words.
_LOGIN = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


def connect(settings: Settings, name: str, *, hasty: bool = False) -> PgConnection:
    """A connection that the server lists as `name`. Raises `StoreUnavailable` or `ConfigError`.

    `hasty`: as DB_SYNCHRONOUS_COMMIT says, its commits may return before the server's disk has them.
    """
    try:
        connection: PgConnection = psycopg2.connect(
            host=settings.db_host,
            port=settings.db_port,
            dbname=settings.db_name,
            user=settings.db_user,
            password=settings.db_password or None,
            **_tls_arguments(settings),
            application_name=name[:63],
            connect_timeout=_CONNECT_TIMEOUT,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=1000 * _SILENCE,
            options=_options(settings, hasty=hasty),
        )
    except psycopg2.OperationalError as exc:
        raise _refused(exc, settings) from exc
    return connection


def _options(settings: Settings, *, hasty: bool) -> str | None:
    """None where the server's own default is meant: a pooler in between may take no options."""
    return "-c synchronous_commit=off" if hasty and settings.db_synchronous_commit == "off" else None


def _tls_arguments(settings: Settings) -> dict[str, Any]:
    """libpq's arguments. Raises `ConfigError` for files that will not do."""
    wish = settings.db_tls
    found = {"sslmode": settings.db_sslmode}
    if wish.wanted:
        tls.context(wish)  # libpq's own complaints about the files name no setting
        found["gssencmode"] = (
            "disable"  # else a Kerberos ticket would have libpq leave TLS, and its checks, out
        )
    if wish.verified:
        found["sslrootcert"] = wish.ca or _system_cas()
    if wish.cert:
        found |= {"sslcert": wish.cert, "sslkey": wish.key}
    return found


def _system_cas() -> str:
    """The system's CAs as one file: libpq's "system" looks where psycopg2's wheel was built."""
    path = ssl.get_default_verify_paths().cafile
    if path is None:
        raise ConfigError(
            "DB_SSLROOTCERT: this system has no file of CAs; set it to one with the server's CA"
        )
    return path


def _refused(exc: psycopg2.OperationalError, settings: Settings) -> WindmillError:
    where = f"PostgreSQL at {settings.db_host}:{settings.db_port}"
    text = " ".join(str(exc).split())
    if found := _tls_refusal(text, settings, where):
        return found
    if any(words in text for words in _LOGIN):
        said = text.rsplit("FATAL:", maxsplit=1)[-1].strip()
        return ConfigError(f"{where} refuses us: {said}; check DB_NAME, DB_USER and DB_PASSWORD")
    reason = text.rsplit("failed:", maxsplit=1)[-1].split("Is the server", maxsplit=1)[0].strip()
    return StoreUnavailable(f"{where} cannot be reached ({reason}): is it running? DB_HOST, DB_PORT")


def _tls_refusal(text: str, settings: Settings, where: str) -> ConfigError | None:
    """What libpq's text says about TLS; it tells an expired certificate from an unknown CA by no word."""
    wish = settings.db_tls
    if "certificate verify failed" in text:
        return tls.unknown_ca(wish, where, "certificate verify failed: unknown CA, or expired")
    if "does not match host name" in text:
        return tls.other_name(wish, where, text.rsplit("failed:", maxsplit=1)[-1].strip())
    if "server does not support SSL" in text:
        return tls.no_tls(wish, where)
    if "certificate required" in text or "requires a valid client certificate" in text:
        return tls.unwelcome(wish, where)
    if "private key file" in text:
        return ConfigError(f"DB_SSLKEY: {text.rsplit('failed:', maxsplit=1)[-1].strip()}")
    if "no encryption" in text and not wish.wanted:
        return ConfigError(f"DB_SSLMODE: {where} takes no plain text; set DB_SSLMODE=verify-full")
    return None


def translated(exc: psycopg2.Error) -> WindmillError:
    """Our error for the driver's."""
    text = " ".join(str(exc).split())
    if isinstance(exc, _MISSING_TABLES):
        return ConfigError(f"the database lacks Windmill's tables ({text}): run `windmill schema`")
    if isinstance(exc, pg.InsufficientPrivilege):
        return ConfigError(f"DB_USER may not do this: {text}")
    if isinstance(exc, pg.ForeignKeyViolation):
        return StoreError(f"the image is not in the database (any more): {text}")
    if isinstance(exc, _PASSING):
        return StoreUnavailable(f"PostgreSQL: {text or 'connection lost'}")
    return StoreError(f"PostgreSQL refused a row: {text}")


@contextmanager
def translating() -> Iterator[None]:
    """The driver's errors leave this block as ours."""
    try:
        yield
    except psycopg2.Error as exc:
        raise translated(exc) from exc


def cut(connection: PgConnection) -> None:
    """Ends a connection from another thread than the one that waits in it, which then gets an error."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg2.InterfaceError) as exc:
        log.debug("the connection has ended by itself: %s", exc)


class Watch:
    """Ends a connection whose transaction takes more than `patience` seconds (and up to a fifth of it).

    A server behind a dead firewall or proxy never answers, and TCP alone does not notice. One thread looks
    after one transaction after another, until there was none for so long: one for each would cost what a
    transaction costs.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._connection: PgConnection | None = None  # in a transaction
        self._since = 0.0  # in the one, or out of any, by the monotonic clock
        self._looking = False

    @contextmanager
    def over(self, connection: PgConnection) -> Iterator[None]:
        """For one transaction at a time."""
        self._note(connection)
        try:
            yield
        finally:
            self._note(None)

    def _note(self, connection: PgConnection | None) -> None:
        with self._lock:
            self._connection, self._since = connection, time.monotonic()
            if connection is not None and not self._looking:
                threading.Thread(target=self._look, name="watch", daemon=True).start()
                self._looking = True

    def _look(self) -> None:
        while True:
            time.sleep(self._patience / _LOOKS)
            with self._lock:
                if time.monotonic() - self._since > self._patience:
                    if self._connection is not None:
                        cut(self._connection)
                    self._looking = False
                    return


class Session:
    """A connection that is opened when needed, and anew after it was lost. For one thread at a time.

    Where `patience` is given, a transaction that takes more seconds than that fails: not for long queries.
    `hasty`: see `connect`.
    """

    def __init__(
        self, settings: Settings, name: str, patience: float | None = None, *, hasty: bool = False
    ) -> None:
        self._settings = settings
        self._name = name
        self._watch = None if patience is None else Watch(patience)
        self._hasty = hasty
        self._connection: PgConnection | None = None

    def open(self) -> PgConnection:
        """The connection. Raises `StoreUnavailable` or `ConfigError`."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings, self._name, hasty=self._hasty)
        return self._connection

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Any]:
        """A cursor whose work is committed at the end, or rolled back. Raises our errors only.

        Unless it is to be `durable`, the commit does not wait for the disk: the death of the server (not that
        of a client) may undo what was done in the last second or so, all of a transaction or nothing.
        """
        with translating():
            connection = self.open()
            try:
                with self._guarded(connection), connection, connection.cursor() as cursor:
                    if not durable:
                        cursor.execute(query("do_not_wait_for_disk"))
                    yield cursor
            except _PASSING:
                self.close()  # whatever state it is in, the next transaction begins on a new one
                raise

    def _guarded(self, connection: PgConnection) -> AbstractContextManager[None]:
        return nullcontext() if self._watch is None else self._watch.over(connection)

    def close(self) -> None:
        """Closes the connection; the next transaction opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
