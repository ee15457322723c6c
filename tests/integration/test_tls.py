"""TLS to real servers: the right certificate serves, and every wrong one is one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.contract.test_brokers import dispatch, numbers, settled, take
from tests.integration.test_mysql import BEAT
from tests.servers import Certificates, MariaDB, Postgres, RabbitMQ
from tests.servers.base import MissingServerError, Server
from tests.waiting import until
from windmill import rabbitmq
from windmill.core.reach import Reach
from windmill.errors import ConfigError
from windmill.model import Outcome, ResultRow, Status
from windmill.mysql_heartbeats import MySQLHeartbeats
from windmill.postgres import broker as postgres_broker
from windmill.postgres import schema
from windmill.postgres.connection import connect
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

ROOT = Path(__file__).parents[2]
# Accounts of the PostgreSQL server with TLS that are let in on terms of their own.
RULES = (
    "hostssl all with_certificate 127.0.0.1/32 trust clientcert=verify-ca",
    "hostnossl all,postgres encrypted_only 127.0.0.1/32 reject",
)


def use_rabbitmq(settings: Settings) -> None:
    with closing(rabbitmq.connect(settings, "worker-1")) as broker:
        broker.publish([dispatch(number, "tls") for number in range(300)])
        with closing(broker.consumer("tls", Reach(300, fixed=True))) as consumer:
            taken = take(consumer, 300)
            assert sorted(numbers(taken)) == list(range(300))
            consumer.settle(settled(taken))
            assert consumer.depth() == 0


def use_postgres(settings: Settings) -> None:
    schema.apply(settings)
    with closing(connect(settings, "test")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)
        cursor.execute("INSERT INTO images (image_filename, image_path) VALUES ('a', 'a') RETURNING image_id")
        (image,) = cursor.fetchone()
        connection.commit()
    row = ResultRow(
        image_id=image, service="blip", data="{}", status=Status.SUCCESS, processing_time=0.1,
        service_types=("semantic",), bbox_format="xywh", vocabulary="unknown",
    )  # fmt: skip
    with closing(PostgresStore(settings, "worker-1")) as store:
        store.save([Outcome(rows=(row,))])
    with closing(postgres_broker.connect(settings, "worker-1")) as broker:
        broker.publish([dispatch(1, "tls")])
        with closing(broker.consumer("tls", Reach(1, fixed=True))) as consumer:
            consumer.settle(settled(take(consumer, 1)))


def use_mysql(settings: Settings) -> None:
    with closing(MySQLHeartbeats(settings)) as log:
        log.write(BEAT)
        assert log.latest()[0].heartbeat == BEAT
        with log._cursor(5) as cursor:
            cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            assert cursor.fetchone()[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of server, and how its settings are called."""

    make: Callable[[Certificates], Server]
    plain: str  # the fixture of a server without TLS
    facts: Callable[[Server], dict[str, object]]
    host: str
    switch: tuple[str, object]
    files: tuple[str, str, str]
    use: Callable[[Settings], None]


def monitored(server: Server) -> dict[str, object]:
    facts = {"host": server.host, "port": server.port, "user": server.dbuser, "password": server.password}
    return {"enable_monitoring": True, "monitoring_db_name": "beats"} | {
        f"monitoring_db_{name}": value for name, value in facts.items()
    }


KINDS = {
    "rabbitmq": Kind(
        make=RabbitMQ,
        plain="rabbitmq_server",
        facts=lambda server: {"queue_host": server.host, "queue_port": server.port},
        host="queue_host",
        switch=("queue_ssl", True),
        files=("queue_ssl_ca", "queue_ssl_cert", "queue_ssl_key"),
        use=use_rabbitmq,
    ),
    "postgres": Kind(
        make=lambda tls: Postgres(tls, rules=RULES),
        plain="postgres_server",
        facts=lambda server: {
            "db_host": server.host,
            "db_port": server.port,
            "db_user": server.dbuser,
            "db_name": "postgres",
        },
        host="db_host",
        switch=("db_sslmode", "verify-full"),
        files=("db_sslrootcert", "db_sslcert", "db_sslkey"),
        use=use_postgres,
    ),
    "mysql": Kind(
        make=MariaDB,
        plain="mariadb_server",
        facts=monitored,
        host="monitoring_db_host",
        switch=("monitoring_db_ssl", True),
        files=("monitoring_db_ssl_ca", "monitoring_db_ssl_cert", "monitoring_db_ssl_key"),
        use=use_mysql,
    ),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A server with TLS, and settings with which it can be used."""

    kind: Kind
    server: Server
    settings: Settings

    def without(self, *files: int) -> Settings:
        """The settings without the CA (0), the certificate (1), the key (2)."""
        return replace(self.settings, **{self.kind.files[number]: "" for number in files})

    def refusal(self, settings: Settings) -> str:
        """The one line that a person sees."""
        with pytest.raises(ConfigError) as caught:
            self.kind.use(settings)
        line = str(caught.value)
        assert "\n" not in line
        assert "_ssl.c" not in line
        return line


def made(kind: Kind, certificates: Certificates) -> Server:
    try:
        return kind.make(certificates)
    except MissingServerError as exc:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(exc))


def make_beats(server: MariaDB) -> None:
    server.run("CREATE DATABASE beats")
    with closing(server.connect("beats")) as connection, connection.cursor() as cursor:
        cursor.execute((ROOT / "schema.mysql.sql").read_text("utf-8"))


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind = KINDS[request.param]
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    with made(kind, certificates) as server:
        named = dict(zip(kind.files, certificates.client, strict=True))
        settings = Settings(**kind.facts(server), **dict([kind.switch]), **named)
        if isinstance(server, MariaDB):
            make_beats(server)
        yield Place(kind, server, settings)


def test_the_right_certificate_serves(place):
    place.kind.use(place.settings)


def test_a_server_of_an_unknown_ca_is_refused(place, tmp_path):
    stranger = Certificates(tmp_path)
    said = place.refusal(replace(place.settings, **{place.kind.files[0]: stranger.ca}))
    assert place.kind.files[0].upper() in said
    assert stranger.ca in said
    assert place.kind.files[0].upper() in place.refusal(
        place.without(0)
    )  # the system's CAs know it as little


def test_a_server_of_another_name_is_refused(place):
    said = place.refusal(replace(place.settings, **{place.kind.host: "localhost"}))
    assert place.kind.host.upper() in said
    assert "another name" in said


def test_an_expired_certificate_is_refused(place):
    place.server.present(place.server.tls.server(expired=True))
    try:
        said = place.refusal(place.settings)
    finally:
        place.server.present(place.server.tls.server())
    assert "expired" in said
    place.kind.use(place.settings)


def test_a_server_without_tls_is_refused(place, request):
    plain = request.getfixturevalue(place.kind.plain)
    said = place.refusal(replace(place.settings, **place.kind.facts(plain)))
    assert place.kind.switch[0].upper() in said
    assert "no TLS" in said


@pytest.mark.parametrize("number", range(3))
def test_a_file_that_is_not_there_names_its_setting(number, place, tmp_path):
    nowhere = str(tmp_path / "nowhere.pem")
    said = place.refusal(replace(place.settings, **{place.kind.files[number]: nowhere}))
    assert place.kind.files[number].upper() in said
    assert nowhere in said


def test_a_file_of_something_else_names_its_setting(place):
    said = place.refusal(replace(place.settings, **{place.kind.files[0]: str(ROOT / "README.md")}))
    assert place.kind.files[0].upper() in said


def test_a_key_of_another_certificate_is_refused(place, tmp_path):
    other = Certificates(tmp_path).key
    assert place.kind.files[2].upper() in place.refusal(
        replace(place.settings, **{place.kind.files[2]: other})
    )


@pytest.mark.parametrize("place", ["rabbitmq"], indirect=True)
def test_rabbitmq_that_wants_a_client_certificate_says_which_setting(place):
    assert "QUEUE_SSL_CERT" in place.refusal(place.without(1, 2))


@pytest.mark.parametrize("place", ["rabbitmq"], indirect=True)
def test_rabbitmq_that_takes_no_plain_text_says_which_setting(place, caplog):
    rabbitmq.connect(replace(place.without(0, 1, 2), queue_ssl=False), "worker-1").close()
    assert "set QUEUE_SSL=true" in caplog.text


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_postgres_that_wants_a_client_certificate_says_which_setting(place):
    place.server.run("CREATE ROLE with_certificate LOGIN SUPERUSER")
    place.kind.use(replace(place.settings, db_user="with_certificate"))
    place.kind.use(place.without(1, 2))  # who needs none comes without
    assert "DB_SSLCERT" in place.refusal(replace(place.without(1, 2), db_user="with_certificate"))


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_postgres_that_takes_no_plain_text_says_which_setting(place):
    place.server.run("CREATE ROLE encrypted_only LOGIN")
    plain = replace(place.without(0, 1, 2), db_user="encrypted_only", db_sslmode="disable")
    assert "DB_SSLMODE=verify-full" in place.refusal(plain)


@pytest.mark.parametrize("place", ["mysql"], indirect=True)
def test_mysql_takes_a_client_certificate(place):
    account = f"'certified'@'{place.server.host}'"
    place.server.run(f"CREATE USER {account} REQUIRE X509")
    place.server.run(f"GRANT ALL ON beats.* TO {account}")
    certified = {"monitoring_db_user": "certified", "monitoring_db_password": "x"}
    place.server.run(f"SET PASSWORD FOR {account} = PASSWORD('x')")
    place.kind.use(replace(place.settings, **certified))
    assert "certified" in place.refusal(replace(place.without(1, 2), **certified))


def test_a_worker_does_its_work_with_tls_on_all_three_connections(tmp_path):
    certificates = Certificates(tmp_path)
    facts: dict[str, object] = {}
    with ExitStack() as stack:
        for kind in KINDS.values():
            server = stack.enter_context(made(kind, certificates))
            facts |= kind.facts(server) | dict([kind.switch])
            facts |= zip(kind.files, certificates.client, strict=True)
            if isinstance(server, MariaDB):
                make_beats(server)
        settings = Settings(**facts)
        schema.apply(settings)
        environment = {name.upper(): str(value) for name, value in facts.items()}
        log = tmp_path / "worker.log"
        with log.open("wb") as file:
            worker = subprocess.Popen(
                [sys.executable, "-m", "windmill", "work", "consensus"],
                cwd=ROOT,
                env={**os.environ, "HEARTBEAT_INTERVAL": "0.2", **environment},
                stdout=file,
                stderr=file,
            )
        stack.callback(worker.kill)
        stack.enter_context(closing(broker := rabbitmq.connect(settings, "test")))
        stack.enter_context(closing(beats := MySQLHeartbeats(settings)))
        broker.publish([dispatch(1, "consensus")])

        def counted() -> bool:
            return [one.heartbeat.jobs_completed for one in beats.latest()] == [1]

        until(counted, 100, lambda: worker.poll() is None, log)
        worker.terminate()
        assert worker.wait(60) == 0
