"""The brokers that the contract is for: each is a name in `KINDS` and a fixture `<name>_brokers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from tests.servers import Postgres, RabbitMQ
from windmill import rabbitmq
from windmill.memory import MemoryBroker
from windmill.ports import Broker
from windmill.postgres import broker as postgres
from windmill.postgres.ledger import PostgresLedger
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

KINDS = ("memory", "rabbitmq", "postgres")
_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """One kind of broker: `connect` gives a connection."""

    connect: Callable[[], Broker]


@pytest.fixture(params=KINDS)
def brokers(request: pytest.FixtureRequest) -> Brokers:
    return request.getfixturevalue(f"{request.param}_brokers")


@pytest.fixture
def broker(brokers: Brokers) -> Iterator[Broker]:
    with closing(brokers.connect()) as connection:
        yield connection


@pytest.fixture
def service() -> str:
    """A service that no other test uses."""
    return f"service{next(_numbers)}"


@pytest.fixture
def memory_brokers() -> Brokers:
    memory = MemoryBroker()
    return Brokers(connect=lambda: memory)


@pytest.fixture
def rabbitmq_brokers(rabbitmq_server: RabbitMQ) -> Brokers:
    settings = Settings(queue_host=rabbitmq_server.host, queue_port=rabbitmq_server.port)
    return Brokers(connect=lambda: rabbitmq.connect(settings, "contract"))


@pytest.fixture
def postgres_brokers(database: Settings) -> Brokers:
    return Brokers(connect=lambda: postgres.connect(database, "contract"))


@pytest.fixture
def store(database: Settings) -> Iterator[PostgresStore]:
    with closing(PostgresStore(database, "worker-1")) as opened:
        yield opened


@pytest.fixture
def ledger(database: Settings) -> Iterator[PostgresLedger]:
    with closing(PostgresLedger(database, "producer")) as opened:
        yield opened


@pytest.fixture
def rows(database: Settings, postgres_server: Postgres) -> Callable[..., list[Any]]:
    """Sends a statement to the database; gives its rows, if any."""

    def fetch(statement: str, *values: object) -> list[Any]:
        with closing(postgres_server.connect(database.db_name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    return fetch
