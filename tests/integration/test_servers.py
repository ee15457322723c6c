"""The test servers themselves: real ones, which keep their data, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pika
import psutil
import pytest

from tests.servers import MariaDB, Postgres, RabbitMQ
from tests.servers.base import MissingServerError, Server, find
from tests.waiting import until

SOON = 60.0  # seconds
QUORUM = {"x-queue-type": "quorum"}


class Row:
    """A committed row, in either database."""

    @staticmethod
    def write(server):
        name = server.new_database()
        with closing(server.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept (n INT)")
            cursor.execute("INSERT INTO kept VALUES (7)")
        return name

    @staticmethod
    def read(server, name):
        with closing(server.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT n FROM kept")
            return cursor.fetchall() == [(7,)]


class Message:
    """A confirmed message, which one publish laid into two quorum queues through the CC header."""

    queues = ("kept", "kept_too")

    @classmethod
    def write(cls, server):
        vhost = server.new_vhost()
        first, second = cls.queues
        with closing(server.connect(vhost)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            for queue in cls.queues:
                channel.queue_declare(queue, durable=True, arguments=QUORUM)
            properties = pika.BasicProperties(headers={"CC": [second]}, delivery_mode=2)
            channel.basic_publish("", first, b"7", properties, mandatory=True)
        return vhost

    @classmethod
    def read(cls, server, vhost):
        with closing(server.connect(vhost)) as connection:
            channel = connection.channel()
            return [channel.basic_get(queue)[2] for queue in cls.queues] == [b"7", b"7"]


KINDS = [
    pytest.param(Postgres, Row, id="postgres"),
    pytest.param(MariaDB, Row, id="mariadb"),
    pytest.param(RabbitMQ, Message, id="rabbitmq"),
]


def make(kind: type[Server]) -> Server:
    try:
        return kind()
    except MissingServerError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))


def processes_of(server):
    """What runs in the server's folder, names it or, like epmd, knows it from its environment."""
    return [one for one in psutil.process_iter() if str(server.folder) in _traces(one)]


def _traces(process):
    try:
        environment = process.environ()
        return " ".join([*process.cmdline(), process.cwd(), environment.get("HOME", "")])
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


def eventually(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def nothing_left(server):
    yield
    eventually(lambda: processes_of(server) == [])
    assert not server.folder.exists()


@pytest.mark.parametrize(("kind", "content"), KINDS)
def test_a_server_keeps_what_it_confirmed_and_leaves_nothing(kind, content):
    server = make(kind)
    with nothing_left(server), server:
        port = server.port
        name = content.write(server)
        assert processes_of(server)
        server.restart()
        assert content.read(server, name)
        server.kill()
        until(lambda: not server._listens(), SOON)
        server.start()
        assert content.read(server, name)
        assert server.port == port


@pytest.mark.parametrize(("kind", "content"), KINDS)
def test_a_killed_test_run_leaves_nothing(kind, content):
    server = make(kind)
    server.folder.rmdir()  # only the name is needed: the run makes its own
    code = (
        f"import sys; from tests.servers import {kind.__name__}\n"
        f"server = {kind.__name__}(); server.start()\n"
        "print(server.folder, flush=True); sys.stdin.read()"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with run:
        server.folder = Path(run.stdout.readline().decode().strip())
        assert processes_of(server)
        with nothing_left(server):
            run.send_signal(signal.SIGKILL)


def test_a_server_that_cannot_start_says_what_it_said_itself():
    server = make(Postgres)
    server.command = lambda: [str(server._binary), "--no-such-option"]
    with nothing_left(server), pytest.raises(RuntimeError, match="no-such-option"), server:
        pass


def test_a_missing_binary_says_how_to_install_it():
    with pytest.raises(MissingServerError, match=r"no-such-server is not installed.*install\.sh"):
        find("no-such-server", "/usr/lib/*/bin")


def test_each_test_has_tables_of_its_own(database, postgres_server):
    with closing(postgres_server.connect(database.db_name)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM images")
        assert cursor.fetchone() == (0,)


def test_the_session_has_a_vhost_and_a_database_to_give(
    rabbitmq_server, rabbitmq_vhost, mariadb_server, mariadb_database
):
    rabbitmq_server.connect(rabbitmq_vhost).close()
    mariadb_server.connect(mariadb_database).close()
