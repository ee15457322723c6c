"""A private MariaDB."""

from __future__ import annotations

import contextlib
import itertools
import subprocess

import mysql.connector

from tests.servers.base import Server, find
from tests.servers.certificates import Certificates

_FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/opt/homebrew/bin")


class MariaDB(Server):
    """`dbuser` with `password` may do everything from loopback."""

    dbuser = "windmill"
    password = "test-password"

    def __init__(self, tls: Certificates | None = None) -> None:
        self._binary = find("mariadbd", *_FOLDERS)
        self._install = find("mariadb-install-db", *_FOLDERS)
        self._names = itertools.count(1)
        super().__init__(tls)

    def prepare(self) -> None:
        self.once(
            str(self._install),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        )
        (self.folder / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS '{self.dbuser}'@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.dbuser}'@'127.0.0.1' WITH GRANT OPTION;\n",
            "utf-8",
        )

    def command(self) -> list[str]:
        return [
            str(self._binary),
            "--no-defaults",
            f"--datadir={self.folder}/data",
            f"--socket={self.folder}/s.sock",
            f"--pid-file={self.folder}/pid",
            f"--init-file={self.folder}/init.sql",
            f"--bind-address={self.host}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=0",
            *(f"--ssl-{name}={self.folder}/{name}.pem" for name in ("ca", "cert", "key") if self.tls),
        ]

    def reload_certificate(self) -> None:
        self.run("FLUSH SSL")

    def answers(self) -> bool:
        with contextlib.suppress(mysql.connector.Error):
            self.connect().close()
            return True
        return False

    def connect(self, database: str | None = None):
        """A client's connection, in autocommit."""
        return mysql.connector.connect(
            host=self.host,
            port=self.port,
            user=self.dbuser,
            password=self.password,
            database=database,
            autocommit=True,
            connection_timeout=30,
            use_pure=True,
        )

    def run(self, statement: str) -> None:
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def version(self) -> str:
        """From its binary: a case may have killed the server."""
        said = subprocess.run([str(self._binary), "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split("Ver ")[1].split("-")[0]

    def new_database(self) -> str:
        """Creates a database and gives its name."""
        name = f"test_{next(self._names)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {database}")
