"""Passwords: any characters work, and no command ever shows one."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
import pytest

from tests.contract.test_brokers import dispatch
from tests.integration.test_mysql import BEAT
from tests.servers import Postgres
from tests.servers.base import free_port
from tests.waiting import until
from windmill import rabbitmq
from windmill.model import QueueState
from windmill.mysql_heartbeats import MySQLHeartbeats
from windmill.postgres.connection import connect
from windmill.settings import Settings, load

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0
SECRETS = {
    "QUEUE_PASSWORD": "leak-of-the-queue-4711",
    "DB_PASSWORD": "leak-of-the-base-0815",
    "MONITORING_DB_PASSWORD": "leak-of-the-beats-1234",
}
ODD = [
    "quo'te\"s `and` \\back\\slashes",
    "at@colon:slash/percent%20%s?query=1&x#hash",
    " spaces around and $HOME ${HOME} inside ",
    "größer Tōkyō 🔑 пароль",
]


@pytest.fixture(scope="module")
def locked(postgres_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL that asks all but its owner for a password."""
    with Postgres(rules=("host all locked,odd 127.0.0.1/32 scram-sha-256",)) as server:
        server.run(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{SECRETS['DB_PASSWORD']}'")
        server.run("CREATE ROLE odd LOGIN")
        server.run("CREATE DATABASE windmill")
        with closing(server.connect("windmill")) as connection, connection.cursor() as cursor:
            cursor.execute((ROOT / "schema.sql").read_text("utf-8"))
        yield server


@pytest.fixture(scope="module")
def right(locked, rabbitmq_server, mariadb_server) -> dict[str, str]:
    """An environment in which everything works, with the secrets as passwords of accounts of their own."""
    rabbitmq_server.add_user("locked", SECRETS["QUEUE_PASSWORD"])
    rabbitmq_server.permit("locked")
    mariadb_server.run("CREATE DATABASE locked")
    with closing(mariadb_server.connect("locked")) as connection, connection.cursor() as cursor:
        cursor.execute((ROOT / "schema.mysql.sql").read_text("utf-8"))
        account = f"'locked'@'{mariadb_server.host}'"
        cursor.execute(f"CREATE USER {account} IDENTIFIED BY '{SECRETS['MONITORING_DB_PASSWORD']}'")
        cursor.execute(f"GRANT ALL ON locked.* TO {account}")
    return {
        **SECRETS,
        "LOG_LEVEL": "DEBUG",
        "PYTHONFAULTHANDLER": "1",
        "BROKER": "rabbitmq",
        "QUEUE_HOST": rabbitmq_server.host,
        "QUEUE_PORT": str(rabbitmq_server.port),
        "QUEUE_USER": "locked",
        "DB_HOST": locked.host,
        "DB_PORT": str(locked.port),
        "DB_NAME": "windmill",
        "DB_USER": "locked",
        "ENABLE_MONITORING": "true",
        "HEARTBEAT_INTERVAL": "0.2",
        "MONITORING_DB_HOST": mariadb_server.host,
        "MONITORING_DB_PORT": str(mariadb_server.port),
        "MONITORING_DB_NAME": "locked",
        "MONITORING_DB_USER": "locked",
    }


# What goes wrong, as a change of the right environment, by the command that meets it and what it then says.
WRONG = {
    "queue user": ("work consensus", {"QUEUE_USER": "nobody"}, "QUEUE_USER, QUEUE_PASSWORD"),
    "queue vhost": ("work consensus", {"QUEUE_VHOST": "nowhere"}, "QUEUE_VHOST"),
    "queue tls": ("work consensus", {"QUEUE_SSL": "true"}, "speaks no TLS"),
    "queue port": ("work consensus", {"QUEUE_PORT": str(free_port())}, "QUEUE_HOST and QUEUE_PORT"),
    "base user": ("produce", {"DB_USER": "odd"}, "DB_PASSWORD"),
    "base name": ("schema", {"DB_NAME": "nowhere"}, "DB_NAME"),
    "base tls": ("schema", {"DB_SSLMODE": "verify-full"}, "speaks no TLS"),
    "base port": ("ingest .", {"DB_PORT": str(free_port())}, "DB_HOST, DB_PORT"),
    "base missing": ("work consensus", {"DB_NAME": "nowhere", "BROKER": "postgres"}, "DB_NAME"),
    "beats user": ("monitor", {"MONITORING_DB_USER": "nobody"}, "MONITORING_DB_USER"),
    "beats name": ("monitor --json", {"MONITORING_DB_NAME": "nowhere"}, "MONITORING_DB_NAME"),
    "beats tls": ("monitor", {"MONITORING_DB_SSL": "true"}, "speaks no TLS"),
    "beats port": ("work consensus", {"MONITORING_DB_PORT": str(free_port())}, "MONITORING_DB_HOST"),
    "a value": ("schema", {"DB_PORT": "x"}, "a whole number"),
}


def shown(text: str) -> list[str]:
    """The secrets that stand in a text, in any of the usual disguises."""
    return [
        form
        for secret in SECRETS.values()
        for form in (secret, quote(secret), base64.b64encode(secret.encode()).decode(), secret.encode().hex())
        if form in text
    ]


def command_lines(root: psutil.Process) -> str:
    family = [root, *root.children(recursive=True)]
    return "\n".join(" ".join(one.cmdline()) for one in family if one.is_running())


@pytest.mark.parametrize("name", WRONG)
def test_no_error_of_a_connection_shows_a_password(name, right, tmp_path):
    words, change, said = WRONG[name]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "windmill", *words.split()],
            cwd=ROOT,
            env={**os.environ, **right, **change},
            stdout=file,
            stderr=file,
        )
    try:
        lines = command_lines(psutil.Process(process.pid))
        until(lambda: process.poll() is not None or said in log.read_text("utf-8"), PATIENCE)
    finally:
        process.terminate()
        process.wait(PATIENCE)
    text = log.read_text("utf-8")
    assert said in text
    assert shown(text) == []
    assert shown(lines) == []


def test_supervised_workers_show_no_password_in_files_and_command_lines(right, tmp_path):
    (tmp_path / "services.json").write_text('{"consensus": {}}', "utf-8")
    places = {"SERVICE_CONFIG": "services.json", "RUN_DIR": "run", "LOG_DIR": "logs"}
    environment = {**os.environ, **right, **{key: str(tmp_path / name) for key, name in places.items()}}

    def workers(*words: str) -> str:
        command = [sys.executable, "-m", "windmill", "workers", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr

    try:
        told = workers("start") + workers("status", "--json")
        supervisord = psutil.Process(int((tmp_path / "run" / "supervisord.pid").read_text("utf-8")))
        lines = command_lines(supervisord)
    finally:
        told += workers("stop")
    assert "consensus_worker.py" in lines
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"supervisord.conf", "supervisord.log", "consensus-0.log"}
    assert shown(told + lines + "".join(path.read_text("utf-8") for path in files)) == []


def test_heartbeats_hold_no_password(right, locked, mariadb_server, tmp_path):
    """A worker with a job in hand loses its account in the database, and its heart goes on."""
    settings = load(right, tmp_path / ".env")
    with closing(rabbitmq.connect(settings, "test")) as broker:
        broker.publish([dispatch(1, "consensus")])
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "windmill", "work", "consensus"],
            cwd=ROOT,
            env={**os.environ, **right, "DB_PASSWORD": SECRETS["DB_PASSWORD"] + "-wrong"},
            stdout=file,
            stderr=file,
        )
    try:
        until(lambda: "DB_PASSWORD" in log.read_text("utf-8"), PATIENCE, log=log)
    finally:
        process.terminate()
        process.wait(PATIENCE)
    with closing(mariadb_server.connect("locked")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM worker_heartbeats")
        rows = cursor.fetchall()
    assert rows
    assert shown(repr(rows) + log.read_text("utf-8")) == []


def test_settings_show_no_password(tmp_path):
    settings = load(SECRETS, tmp_path / ".env")
    assert settings.db_password == SECRETS["DB_PASSWORD"]
    assert shown(f"{settings} {settings!r} {settings.queue_tls}") == []


@pytest.mark.parametrize("password", ODD)
def test_any_characters_are_a_password_in_postgres(password, locked):
    with closing(locked.connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER ROLE odd PASSWORD %s", (password,))
    settings = Settings(
        db_host=locked.host, db_port=locked.port, db_name="postgres", db_user="odd", db_password=password
    )
    with closing(connect(settings, "test")) as connection:
        assert connection.status == psycopg2.extensions.STATUS_READY


@pytest.mark.parametrize("password", ODD)
def test_any_characters_are_a_password_in_rabbitmq(password, rabbitmq_server):
    rabbitmq_server.add_user("odd", password)
    try:
        rabbitmq_server.permit("odd")
        settings = Settings(
            queue_host=rabbitmq_server.host,
            queue_port=rabbitmq_server.port,
            queue_user="odd",
            queue_password=password,
        )
        with closing(rabbitmq.connect(settings, "test")) as broker:
            assert broker.queue_states(["nobody"]) == {"nobody": QueueState()}
    finally:
        rabbitmq_server.delete_user("odd")


@pytest.mark.parametrize("password", ODD)
def test_any_characters_are_a_password_in_mysql(password, mariadb_server, mariadb_database):
    account = f"'odd'@'{mariadb_server.host}'"
    with closing(mariadb_server.connect(mariadb_database)) as connection, connection.cursor() as cursor:
        cursor.execute((ROOT / "schema.mysql.sql").read_text("utf-8"))
        cursor.execute(f"CREATE OR REPLACE USER {account} IDENTIFIED BY %s", (password,))
        cursor.execute(f"GRANT ALL ON {mariadb_database}.* TO {account}")
    settings = Settings(
        enable_monitoring=True,
        monitoring_db_host=mariadb_server.host,
        monitoring_db_port=mariadb_server.port,
        monitoring_db_name=mariadb_database,
        monitoring_db_user="odd",
        monitoring_db_password=password,
    )
    with closing(MySQLHeartbeats(settings)) as log:
        log.write(BEAT)
