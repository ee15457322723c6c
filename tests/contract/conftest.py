"""The brokers that the contract is for: each is a name in `KINDS` and a fixture `<name>_brokers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from tests.servers import Postgres, RabbitMQ
from windmill import catalog, rabbitmq
from windmill.memory import MemoryBroker
from windmill.ports import Broker
from windmill.postgres import broker as postgres
from windmill.postgres.ledger import PostgresLedger
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

KINDS = ("memory", "rabbitmq", "postgres")
_numbers = count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A message in the dead store, and why it is there."""

    body: bytes
    error: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """One kind of broker: `connect` gives a connection, `dead` reads a service's dead store."""

    connect: Callable[[], Broker]
    dead: Callable[[str], Sequence[Dead]]


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

    def dead(service: str) -> list[Dead]:
        return [Dead(body=one.body, error=one.error, reason=one.reason) for one in memory.dead(service)]

    return Brokers(connect=lambda: memory, dead=dead)


@pytest.fixture
def rabbitmq_brokers(rabbitmq_server: RabbitMQ) -> Brokers:
    settings = Settings(queue_host=rabbitmq_server.host, queue_port=rabbitmq_server.port)
    return Brokers(
        connect=lambda: rabbitmq.connect(settings, "contract"),
        dead=lambda service: dead_in_rabbitmq(rabbitmq_server, service),
    )


@pytest.fixture
def postgres_brokers(postgres_server: Postgres, database: Settings) -> Brokers:
    return Brokers(
        connect=lambda: postgres.connect(database, "contract"),
        dead=lambda service: dead_in_postgres(postgres_server, database.db_name, service),
    )


def dead_in_rabbitmq(server: RabbitMQ, service: str) -> list[Dead]:
    """Empties the dead queue of `service`."""
    found = []
    with closing(server.connect()) as connection:
        channel = connection.channel()
        while True:
            method, properties, body = channel.basic_get(catalog.dead_queue(service), auto_ack=True)
            if method is None:
                return found
            text = {key: str(value) for key, value in properties.headers.items()}
            error, reason = text.get("x-windmill-error", ""), text.get("x-windmill-reason", "")
            found.append(Dead(body=body, error=error, reason=reason))


def dead_in_postgres(server: Postgres, database: str, service: str) -> list[Dead]:
    """Reads `dead_jobs`."""
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT body, error, reason FROM dead_jobs WHERE queue = %s ORDER BY job_id",
            (catalog.queue(service),),
        )
        return [Dead(body=bytes(body), error=error, reason=reason) for body, error, reason in cursor]


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
