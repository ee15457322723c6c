"""Accounts in RabbitMQ and MySQL, as docs/security.md sets them up: each does its work, and nothing else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.test_brokers import dispatch, numbers, settled, take
from tests.integration.test_mysql import BEAT
from windmill import rabbitmq
from windmill.core.reach import Reach
from windmill.errors import BrokerError, ConfigError
from windmill.model import Again, QueueState
from windmill.mysql_heartbeats import MySQLHeartbeats
from windmill.settings import Settings

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs/security.md").read_text("utf-8")
LINES = re.findall(r"^rabbitmqctl set_permissions -p windmill (.*)$", MANUAL, re.MULTILINE)
PATTERNS = {user: tuple(patterns) for user, *patterns in map(shlex.split, LINES)}
NOTHING = "^$"
PASSWORD = "p"


# --- RabbitMQ --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vhost(rabbitmq_server) -> str:
    for user in PATTERNS:
        rabbitmq_server.add_user(user, PASSWORD)
    return rabbitmq_server.new_vhost()


@pytest.fixture
def account(rabbitmq_server, vhost):
    """Gives settings for a user of the manual, with the manual's patterns or others."""

    def settings(user: str, patterns: tuple[str, str, str] | None = None) -> Settings:
        rabbitmq_server.permit(user, patterns or PATTERNS[user], vhost)
        return Settings(
            queue_host=rabbitmq_server.host,
            queue_port=rabbitmq_server.port,
            queue_vhost=vhost,
            queue_user=user,
            queue_password=PASSWORD,
        )

    return settings


def work(settings: Settings, service: str) -> None:
    """What a worker does: sends what follows, takes, acks, sends again, asks for suspects and depths."""
    with closing(rabbitmq.connect(settings, "worker-1")) as broker:
        broker.publish([dispatch(number, service, f"{service}_next") for number in range(3)])
        with closing(broker.consumer(service, Reach(3, fixed=True))) as consumer:
            done, again, last = take(consumer, 3)
            consumer.settle(settled([done, last]))
            consumer.settle(settled([again], Again(delay=1, attempt=1)))
            assert numbers(take(consumer, 1)) == numbers([again])
            assert consumer.take_suspect() is None
            consumer.depth()
        assert len(list(broker.census(f"{service}_next"))) == 3  # as `windmill reconcile` does


def test_a_worker_of_the_manual_can_do_all_that_workers_do(account):
    work(account("windmill_worker"), "manual")


@pytest.mark.parametrize("number", range(3))
def test_a_worker_needs_each_of_its_patterns(number, account):
    patterns = list(PATTERNS["windmill_worker"])
    patterns[number] = NOTHING
    with pytest.raises((ConfigError, BrokerError), match=r"403|ACCESS_REFUSED|access"):
        work(account("windmill_worker", tuple(patterns)), f"lacking{number}")


def test_a_producer_of_the_manual_sends_to_queues_that_workers_made_and_reads_none(account):
    settings = account("windmill_producer")
    with (
        closing(rabbitmq.connect(settings, "producer")) as broker,
        pytest.raises(ConfigError, match="QUEUE_USER"),
    ):
        broker.publish([dispatch(1, "made")])
    work(account("windmill_worker"), "made")
    with closing(rabbitmq.connect(settings, "producer")) as broker:
        broker.publish([dispatch(1, "made", "made_next")])
        assert broker.queue_states(["made_next"]) == {"made_next": QueueState(waiting=4)}
        with pytest.raises(ConfigError, match="QUEUE_USER"):
            broker.consumer("made", Reach(1, fixed=True)).take(1, 5)


def test_a_producer_with_the_third_pattern_makes_queues_itself(account):
    configure, write, _ = PATTERNS["windmill_producer"]
    settings = account("windmill_producer", (configure, write, "^queue_"))
    with closing(rabbitmq.connect(settings, "producer")) as broker:
        broker.publish([dispatch(1, "first")])


def test_a_monitor_of_the_manual_sees_depths_and_nothing_else(account):
    work(account("windmill_worker"), "watched")
    with closing(rabbitmq.connect(account("windmill_monitor"), "monitor")) as broker:
        assert broker.queue_states(["watched_next", "never_made"]) == {
            "watched_next": QueueState(waiting=3),
            "never_made": QueueState(),
        }
        with pytest.raises(ConfigError, match="QUEUE_USER"):
            broker.publish([dispatch(1, "watched")])


# --- MySQL -----------------------------------------------------------------------------------------------


@pytest.fixture
def beats(mariadb_server, mariadb_database) -> Iterator[dict[str, Settings]]:
    """Settings for a worker's and a monitor's account, made by the files and the manual's statements."""
    made = {}

    def run(text: str) -> None:
        with closing(mariadb_server.connect(mariadb_database)) as connection, connection.cursor() as cursor:
            for statement in filter(str.strip, re.sub(r"--.*", "", text).split(";")):
                cursor.execute(statement)

    roles = (ROOT / "roles.mysql.sql").read_text("utf-8")
    run((ROOT / "schema.mysql.sql").read_text("utf-8"))
    run(roles)
    run(roles)
    manual = re.search(r"```sql\n(-- mysql .*?)```", MANUAL, re.DOTALL).group(1)
    run(manual.replace("'%'", f"'{mariadb_server.host}'").replace("REQUIRE SSL", ""))
    for user in ("gpu1", "desk"):
        made[user] = Settings(
            enable_monitoring=True,
            monitoring_db_host=mariadb_server.host,
            monitoring_db_port=mariadb_server.port,
            monitoring_db_name=mariadb_database,
            monitoring_db_user=user,
            monitoring_db_password="…",
        )
    yield made | {"run": run}
    run(f"DROP USER gpu1@'{mariadb_server.host}', desk@'{mariadb_server.host}'")
    run("DROP ROLE windmill_worker, windmill_monitor")


def test_a_workers_account_writes_and_prunes_heartbeats_and_reads_none(beats, caplog):
    caplog.set_level("INFO")
    beats["run"]("INSERT INTO worker_heartbeats (timestamp, worker_id, service_name, node_hostname, status) "
                 "VALUES (NOW() - INTERVAL 9 DAY, 'gone', 's', 'n', 'alive')")  # fmt: skip
    with closing(MySQLHeartbeats(beats["gpu1"])) as log:
        log.write(BEAT)
        with pytest.raises(ConfigError, match="MONITORING_DB_USER"):
            log.latest()
    assert "not deleted" not in caplog.text
    with closing(MySQLHeartbeats(beats["desk"])) as log:
        assert [one.heartbeat for one in log.latest()] == [BEAT]
        log.completed(60)
        log.errors(60)
        with pytest.raises(ConfigError, match="MONITORING_DB_USER"):
            log.write(BEAT)


@pytest.mark.parametrize("privilege", ["INSERT", "DELETE", "SELECT (timestamp)"])
def test_a_workers_account_needs_each_of_its_privileges(privilege, beats, caplog):
    caplog.set_level("INFO")
    beats["run"](f"REVOKE {privilege} ON worker_heartbeats FROM windmill_worker")
    with closing(MySQLHeartbeats(replace(beats["gpu1"]))) as log:
        if privilege == "INSERT":
            with pytest.raises(ConfigError, match="MONITORING_DB_USER"):
                log.write(BEAT)
        else:
            log.write(BEAT)
            assert "not deleted" in caplog.text
