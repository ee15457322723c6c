"""A private PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
from pathlib import Path

import psycopg2

from tests.servers.base import Server, find
from tests.servers.certificates import Certificates

_BINARIES = "/usr/lib/postgresql/*/bin"


class Postgres(Server):
    """`user` windmill, trusted from loopback. `durable` waits for the disk, as a bench wants.

    `rules` are lines of pg_hba.conf that go before that trust. `data` is a folder that is there afterwards,
    and may be there before; it goes with no other server's version.
    """

    dbuser = "windmill"
    password = ""
    end = signal.SIGINT  # "fast": does not wait for clients

    def __init__(
        self,
        tls: Certificates | None = None,
        *,
        durable: bool = False,
        rules: tuple[str, ...] = (),
        data: Path | None = None,
    ) -> None:
        self._binary = find("postgres", _BINARIES)
        self._durable = durable
        self._names = itertools.count(1)
        self._rules = rules
        super().__init__(tls)
        self._data = data or self.folder / "data"

    def prepare(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self._data, pwd.getpwnam(self.user).pw_uid, pwd.getpwnam(self.user).pw_gid)
        initdb = str(find("initdb", _BINARIES))
        self.once(
            initdb,
            "-D",
            str(self._data),
            "-U",
            self.dbuser,
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        )
        access = self._data / "pg_hba.conf"
        access.write_text("\n".join((*self._rules, access.read_text("utf-8"))), "utf-8")

    def command(self) -> list[str]:
        settings = {"listen_addresses": self.host, "port": self.port, "unix_socket_directories": self.folder}
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        if self.tls:
            files = {f"ssl_{name}_file": self.folder / f"{name}.pem" for name in ("ca", "cert", "key")}
            settings |= {"ssl": "on", **files}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._binary), "-D", str(self._data), *options]

    def reload_certificate(self) -> None:
        self.run("SELECT pg_reload_conf()")

    def answers(self) -> bool:
        with contextlib.suppress(psycopg2.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def connect(self, database: str):
        """A client's connection, in autocommit."""
        connection = psycopg2.connect(
            host=self.host, port=self.port, user=self.dbuser, dbname=database, connect_timeout=30
        )
        connection.autocommit = True
        return connection

    def run(self, statement: str, database: str = "postgres") -> None:
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def version(self) -> str:
        """As the server says it, without what it was built with."""
        with contextlib.closing(self.connect("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            return str(cursor.fetchone()[0]).split()[0]

    def new_database(self, template: str = "template1") -> str:
        """Creates a database and gives its name."""
        name = f"test_{next(self._names)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
