"""What only a real PostgreSQL shows of its broker: restarts, lost connections, dead workers."""

import logging
from contextlib import closing
from dataclasses import replace

import pytest

from tests.contract.test_brokers import SOON, dispatch, eventually, numbers, settled, take
from tests.servers import Postgres
from tests.servers.proxy import Proxy
from windmill.core import wire
from windmill.core.reach import Reach
from windmill.errors import BrokerError
from windmill.model import Again, QueueState
from windmill.postgres import broker as postgres

SERVICE = "yolov8"


@pytest.fixture
def broker(database):
    with closing(postgres.connect(database, "worker-1")) as connection:
        yield connection


def run(server: Postgres, database, statement):
    """The rows of one statement."""
    with closing(server.connect(database.db_name)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def terminate(server, database, name="worker-1"):
    """Ends every connection of `name`; gives how many there were."""
    ended = run(
        server,
        database,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'",  # noqa: S608
    )
    return len(ended)


def all_of(consumer, expected):
    """Takes and acks until every number of `expected` has come; what came, duplicates included."""
    found = []
    while not expected <= set(found):
        taken = consumer.take(50, SOON)
        assert taken, f"missing: {sorted(expected - set(found))[:9]}"
        found += numbers(taken)
        consumer.settle(settled(taken))
    return found


def test_terminated_connections_cost_nothing(postgres_server, database, broker, caplog):
    caplog.set_level(logging.INFO)
    broker.publish([dispatch(number, SERVICE) for number in range(20)])
    consumer = broker.consumer(SERVICE, Reach(5, fixed=True))
    taken = take(consumer, 5)
    for _ in range(2):  # each time anew
        assert terminate(postgres_server, database) == 2
        with pytest.raises(BrokerError):
            broker.publish([dispatch(99, SERVICE)])
        broker.publish([dispatch(99, SERVICE)])
        again = take(consumer, 5)
        consumer.settle(settled(taken, Again(delay=1, attempt=1)))  # of a lost connection: skipped
    assert {one.attempt for one in again} == {0}
    assert sum("trying until" in record.message for record in caplog.records) == 2
    consumer.settle(settled(again))
    all_of(consumer, {*range(20), 99} - set(numbers(again)))


def test_a_server_that_falls_silent_is_left_and_found_again(postgres_server, database, monkeypatch, caplog):
    monkeypatch.setattr("windmill.postgres.consumer.STALL", 0.3)
    monkeypatch.setattr("windmill.postgres.consumer._LOOK_AGAIN", 0.2)
    monkeypatch.setattr("windmill.postgres.broker.PATIENCE", 0.5)
    with Proxy(postgres_server.host, postgres_server.port) as way:
        behind = replace(database, db_host=way.host, db_port=way.port, db_sslmode="disable")
        with closing(postgres.connect(behind, "worker-1")) as broker:
            consumer = broker.consumer(SERVICE, Reach(5, fixed=True))
            assert consumer.take(1, 0.1) == []
            broker.publish([dispatch(1, SERVICE)])
            consumer.settle(settled(take(consumer, 1)))
            way.silence()
            with pytest.raises(BrokerError):
                broker.publish([dispatch(2, SERVICE)])
            eventually(lambda: consumer.take(1, 0.1) or "has not answered" in caplog.text)
            way.restore()
            broker.publish([dispatch(3, SERVICE)])
            assert numbers(take(consumer, 1)) == [3]


def test_what_a_dead_worker_held_is_free_again(postgres_server, database, broker):
    broker.publish([dispatch(1, SERVICE)])
    run(postgres_server, database, "UPDATE jobs SET holder = nextval('job_holders') RETURNING holder")
    assert broker.queue_states([SERVICE])[SERVICE].waiting == 0
    assert numbers(take(broker.consumer(SERVICE, Reach(3, fixed=True)), 1)) == [1]


def test_consumers_count_while_their_session_lives(postgres_server, database, broker):
    def consumers():
        return broker.queue_states([SERVICE])[SERVICE].consumers

    with closing(postgres.connect(database, "victim")) as victim:
        victim.consumer(SERVICE, Reach(1, fixed=True))
        victim.consumer("ocr", Reach(1, fixed=True))
        assert eventually(lambda: consumers() == 1)
        other = broker.consumer(SERVICE, Reach(1, fixed=True))
        assert eventually(lambda: consumers() == 2)
        other.close()
        assert eventually(lambda: consumers() == 1)
    assert eventually(lambda: broker.queue_states([SERVICE]) == {SERVICE: QueueState()})


def test_a_census_tells_what_workers_hold_as_well(broker):
    broker.publish([dispatch(number, SERVICE) for number in range(5)])
    take(broker.consumer(SERVICE, Reach(2, fixed=True)), 2)
    bodies = broker.census(SERVICE)
    assert sorted(wire.decode(body).image.image_id for body in bodies) == [*range(5)]


def test_old_jobs_that_come_back_are_found_by_who_is_at_newer_ones(
    postgres_server, database, broker, monkeypatch
):
    monkeypatch.setattr("windmill.postgres.consumer._LOOK_AGAIN", 60.0)  # nobody finds them by chance
    broker.publish([dispatch(1, SERVICE)])
    older = "UPDATE jobs SET available_at = now() - interval '1 hour' RETURNING job_id"
    run(postgres_server, database, older)
    first = broker.consumer(SERVICE, Reach(1, fixed=True))
    eventually(lambda: first.depth() == 0)
    broker.publish([dispatch(2, SERVICE)])
    second = broker.consumer(SERVICE, Reach(1, fixed=True))
    consumed = take(second, 1)
    assert numbers(consumed) == [2]
    second.settle(settled(consumed))
    assert second.take(1, 0.1) == []
    first.close()
    assert numbers(take(second, 1)) == [1]


def test_a_job_for_later_comes_when_it_is_due_and_not_at_the_next_look(broker, monkeypatch):
    monkeypatch.setattr("windmill.postgres.consumer._LOOK_AGAIN", 60.0)
    broker.publish([dispatch(1, SERVICE)])
    consumer = broker.consumer(SERVICE, Reach(5, fixed=True))
    consumer.settle(settled(take(consumer, 1), Again(delay=0.2, attempt=1)))
    assert take(consumer, 1)[0].attempt == 1
