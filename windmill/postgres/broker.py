"""The broker of BROKER=postgres: rows of `jobs`, taken with SKIP LOCKED, and a notification for each queue.

A consumer's connection holds an advisory lock under the consumer's own number, which its jobs carry as their
holder. When the process dies, so does the lock, and whoever looks next frees those jobs.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager

from psycopg2.extras import execute_values

from windmill import catalog
from windmill.core import wire
from windmill.core.reach import Reach
from windmill.errors import BrokerError, StoreError, StoreUnavailable
from windmill.model import Ack, Again, Dispatch, QueueState, Settlement
from windmill.postgres.connection import Session, translating
from windmill.postgres.connection import connect as connected
from windmill.postgres.consumer import NEW, PostgresConsumer, Token
from windmill.postgres.queries import query
from windmill.settings import Settings

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds for what is sent or settled in one call
_PAGE = 1000
_FETCH = 1000  # rows that a census brings at a time


def connect(settings: Settings, name: str) -> PostgresBroker:
    """A broker on the database of `settings`. Raises `ConfigError` for what does not pass by itself."""
    broker = PostgresBroker(settings, name)
    broker.open()
    return broker


class PostgresBroker:
    """A `ports.Broker`: what is sent and settled goes over one connection, each consumer has its own."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._session = Session(settings, name, PATIENCE, hasty=True)
        self._lock = threading.Lock()
        self._consumers: list[PostgresConsumer] = []

    def open(self) -> None:
        """Connects; a server that is down is tried again when it is needed. Raises `ConfigError`."""
        try:
            self._session.open()
        except StoreUnavailable as error:
            log.warning("%s; trying until it answers", error)

    def publish(
        self, dispatches: Sequence[Dispatch], *, doubtful: bool = False, stop: threading.Event | None = None
    ) -> None:
        """See `ports.Publisher`; a full disk is an error here, so `stop` has no wait to end."""
        del stop
        bodies: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
        for dispatch in dispatches:
            bodies[tuple(dict.fromkeys(dispatch.services))].append(wire.encode(dispatch.job))
        jobs = [
            (together, [catalog.queue(service) for service in services], int(doubtful))
            for services, together in bodies.items()
            if services
        ]
        if not jobs:
            return
        with _as_broker_errors(), self._lock:
            with self._session.transaction() as cursor:
                execute_values(cursor, query("publish_jobs"), jobs, page_size=_PAGE)
            # All that notify take turns until they are committed: who waits for the disk then, holds up all.
            with self._session.transaction(durable=False) as cursor:
                queues = sorted({queue for _, queues, _ in jobs for queue in queues})
                cursor.execute(query("notify"), {"queues": queues, "news": NEW})

    def consumer(self, service: str, reach: Reach) -> PostgresConsumer:
        """See `ports.Broker`."""
        consumer = PostgresConsumer(
            self._settings,
            self._name,
            service=service,
            reach=reach,
            settle=self.settle,
            depth=self._depth,
        )
        self._consumers.append(consumer)
        return consumer

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Acks and sends on in one transaction; what another holder has by now stays as it is.

        It does not wait for the disk: should the server die at this moment, these jobs are done once more.
        """
        acked, again = [], []
        for one in settlements:
            token = one.delivery.token
            assert isinstance(token, Token)  # noqa: S101 -- only our own consumers settle here
            match one.decision:
                case Ack():
                    acked.append((token.job, token.holder))
                case Again(delay=delay, attempt=attempt):
                    again.append((token.job, attempt, delay, one.delivery.redelivered, token.holder))
        with _as_broker_errors(), self._lock, self._session.transaction(durable=False) as cursor:
            for name, rows in (("ack_jobs", acked), ("again_jobs", again)):
                if rows:
                    execute_values(cursor, query(name), rows, page_size=_PAGE)

    def queue_states(self, services: Iterable[str]) -> dict[str, QueueState]:
        """See `ports.Broker`."""
        names = {catalog.queue(service): service for service in services}
        with _as_broker_errors(), self._lock, self._session.transaction() as cursor:
            cursor.execute(query("queue_states"), {"queues": list(names)})
            return {
                names[queue]: QueueState(waiting=waiting, delayed=delayed, consumers=consumers)
                for queue, waiting, delayed, consumers in cursor
            }

    def census(self, service: str) -> Iterator[bytes]:
        """See `ports.Broker`. What workers have in hand is among them: their rows are there."""
        with (
            _as_broker_errors(),
            translating(),
            closing(connected(self._settings, self._name)) as connection,
            connection.cursor(name="census") as cursor,
        ):
            cursor.itersize = _FETCH
            cursor.execute(query("census"), {"queue": catalog.queue(service)})
            for (body,) in cursor:
                yield bytes(body)

    def close(self) -> None:
        """See `ports.Broker`."""
        for consumer in self._consumers:
            consumer.close()
        self._session.close()

    def _depth(self, service: str) -> int:
        return self.queue_states([service])[service].waiting


@contextmanager
def _as_broker_errors() -> Iterator[None]:
    try:
        yield
    except StoreError as exc:
        raise BrokerError(str(exc)) from exc
