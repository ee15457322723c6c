"""Fixtures that bring real servers. A missing binary skips at home and fails when CI is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import MariaDB, Postgres, RabbitMQ
from tests.servers.base import MissingServerError, Server
from windmill.settings import Settings

ROOT = Path(__file__).parents[1]


def _running(kind: type[Server]) -> Iterator[Server]:
    try:
        server = kind()
    except MissingServerError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    yield from _running(Postgres)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    yield from _running(RabbitMQ)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Server]:
    yield from _running(MariaDB)


@pytest.fixture(scope="session")
def _template(postgres_server: Postgres) -> str:
    """A database with Windmill's tables, to copy: that takes a tenth of making them."""
    name = postgres_server.new_database()
    postgres_server.run((ROOT / "schema.sql").read_text("utf-8"), name)
    return name


@pytest.fixture
def empty_database(postgres_server: Postgres) -> Iterator[Settings]:
    """Settings for a database without tables."""
    name = postgres_server.new_database()
    yield _settings(postgres_server, name)
    postgres_server.drop(name)


@pytest.fixture
def database(postgres_server: Postgres, _template: str) -> Iterator[Settings]:
    """Settings for a database of one's own, with Windmill's tables."""
    name = postgres_server.new_database(_template)
    yield _settings(postgres_server, name)
    postgres_server.drop(name)


def _settings(server: Postgres, database: str) -> Settings:
    return Settings(db_host=server.host, db_port=server.port, db_name=database, db_user=server.dbuser)


@pytest.fixture
def rabbitmq_vhost(rabbitmq_server: RabbitMQ) -> str:
    """The name of an empty vhost, for a test that uses the real queues' names; it lives with the server."""
    return rabbitmq_server.new_vhost()


@pytest.fixture
def mariadb_database(mariadb_server: MariaDB) -> Iterator[str]:
    """The name of an empty database in MariaDB."""
    name = mariadb_server.new_database()
    yield name
    mariadb_server.drop(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The test data beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: its photos and hostile files are kept beside the checkout")
    return folder
