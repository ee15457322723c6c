"""Accounts with the least privileges: each does its work for real, and loses it with any one privilege."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest

from tests.contract.test_brokers import dispatch, settled
from tests.contract.test_store import CAT_BOX, DOG_BOX, add_images, crop_result, done, merged
from tests.detectors import AVERAGE
from tests.servers import Postgres
from tests.waiting import until
from windmill.catalog import facts
from windmill.core import where, wire
from windmill.core.fields import FIELDS
from windmill.core.reach import Reach
from windmill.core.where import Not
from windmill.dead import Matching
from windmill.errors import ConfigError
from windmill.handlers.merge import Merge
from windmill.handlers.vote import Vote
from windmill.model import (
    Ack,
    Again,
    BoxesAgain,
    DeadRow,
    Image,
    ImagesAgain,
    Job,
    LostCaptions,
    LostCrops,
    LostDispatches,
    LostStage,
    Missing,
    Numbering,
    Outcome,
    StagesAgain,
    Which,
)
from windmill.postgres import broker as postgres_broker
from windmill.postgres import schema
from windmill.postgres.broker import PostgresBroker
from windmill.postgres.facts import PostgresFacts
from windmill.postgres.findings import PostgresFindings
from windmill.postgres.graveyard import PostgresGraveyard
from windmill.postgres.histories import PostgresHistories
from windmill.postgres.ledger import PostgresLedger
from windmill.postgres.registry import PostgresImages
from windmill.postgres.store import PostgresStore
from windmill.settings import Settings

PATIENCE = 60.0
SERVICE = "yolov8"


@dataclass(slots=True)
class Place:
    """A database with Windmill's tables, its owner's settings, and a way to run SQL as the owner."""

    server: Postgres
    owner: Settings

    def rows(self, statement: str, *values: object) -> list[tuple]:
        with (
            closing(self.server.connect(self.owner.db_name)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def account(self, role: str) -> Iterator[Settings]:
        """Settings of a login role that is a member of `role` and nothing else."""
        name = f"{role}_login"
        self.rows(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
        try:
            yield replace(self.owner, db_user=name)
        finally:
            sessions = "SELECT 1 FROM pg_stat_activity WHERE usename = %s"
            until(lambda: not self.rows(sessions, name), PATIENCE)  # and with them what is temporary
            self.rows(f"DROP ROLE {name}")

    def privileges(self, role: str) -> list[tuple[str, str, str]]:
        """Every privilege of `role` on what is in the schema: kind, name, privilege."""
        return self.rows(
            "SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.relname, acl.privilege_type "
            "FROM pg_class c, aclexplode(c.relacl) acl "
            "WHERE c.relnamespace = 'public'::regnamespace AND acl.grantee = to_regrole(%s) ORDER BY 2, 3",
            role,
        )


@pytest.fixture
def place(postgres_server: Postgres, database: Settings) -> Place:
    return Place(postgres_server, database)


# --- what each account does ------------------------------------------------------------------------------


def produce(settings: Settings) -> None:
    """What ingest and produce do."""
    add_images(settings, 3)
    with closing(PostgresImages(settings, "ingest")) as registry:
        assert registry.known([b"demo1"])
    everything = Missing(services=(SERVICE,), group="demo", resume=False)
    with (
        closing(PostgresLedger(settings, "producer")) as ledger,
        closing(postgres_broker.connect(settings, "producer")) as broker,
    ):
        assert "demo" in ledger.groups()
        assert ledger.count_images(replace(everything, resume=True)) in (0, 3)
        ledger.send(everything, broker.publish, after=0, limit=9)
        assert broker.queue_states([SERVICE])[SERVICE].waiting >= 3
        assert len(list(broker.census(SERVICE))) >= 3


def mend(place: Place, settings: Settings) -> None:
    """What rerun, reconcile and dead do, beside what the producer does."""
    produce(settings)
    image = place.rows("SELECT min(image_id) FROM images")[0][0]
    job = wire.encode(Job(image=Image(image_id=image, path="x")))
    with closing(PostgresStore(place.owner, "worker-1")) as store:
        store.save([given_up(None, b"{"), given_up(image, job)])
    boxes = {"services": ("bbox_colors",), "kept_as": "colors"}
    with (
        closing(PostgresLedger(settings, "rerun")) as ledger,
        closing(PostgresGraveyard(settings, "dead")) as graveyard,
    ):
        for version in ("v1", "v1"):
            ledger.make_current(SERVICE, version)
        assert ledger.versions(SERVICE)[0] == "v1"
        ledger.last_hour(SERVICE)
        before = ledger.begin_count()
        ledger.counted(SERVICE, [Job(image=Image(image_id=image, path="x"))])
        ledger.end_count()
        ledger.open_services()
        for selection in (
            ImagesAgain(services=(SERVICE,), which=Which.STALE),
            StagesAgain(services=("consensus",), which=Which.STALE, rule="v3"),
            BoxesAgain(**boxes, which=Which.STALE),
            LostDispatches(services=(SERVICE,), before=before),
            LostStage(services=("consensus",), before=before),
            LostCrops(**boxes, before=before),
            LostCaptions(services=("caption_score",), captioners=("blip",), before=before),
        ):
            ledger.count(selection)
        assert graveyard.groups(Matching())
        assert graveyard.jobs(Matching(), after=0, limit=9)
        assert graveyard.replay(Matching(), len, after=0, limit=9)[0]
        assert graveyard.drop(Matching())


def given_up(image: int | None, body: bytes) -> Outcome:
    row = DeadRow(
        service=SERVICE, image_id=image, body=body, attempts=1, error_class="MessageError", error="no"
    )
    return Outcome(rows=(row,))


def work(settings: Settings, log: pytest.LogCaptureFixture, images: list[int]) -> None:
    """What workers do: take, save, recompute, publish, settle in every way, give up."""
    save(settings, images)
    with closing(postgres_broker.connect(settings, "worker-1")) as broker:
        broker.publish([dispatch(image, SERVICE) for image in images])
        with closing(broker.consumer(SERVICE, Reach(10, fixed=True))) as consumer:
            taken: list = []
            until(lambda: refused(log) or taken.extend(consumer.take(10, 0.1)) or len(taken) == 3, PATIENCE)
            if refused(log):
                raise ConfigError(refused(log))
            decisions = (Ack(), Again(delay=0, attempt=1), Ack())
            for delivery, decision in zip(taken, decisions, strict=True):
                consumer.settle(settled([delivery], decision))
            consumer.depth()
    if refused(log):
        raise ConfigError(refused(log))


def save(settings: Settings, images: list[int]) -> None:
    first = images[0]
    with closing(PostgresStore(settings, "worker-1")) as store:
        for _ in range(2):
            store.save([done(image, model_version="v1") for image in images])
            store.save([given_up(first, b"?")])
            store.save([merged(first, CAT_BOX, DOG_BOX)])
            store.save([crop_result(first, CAT_BOX.key), crop_result(first, None, "caption_score")])
        store.save([merged(first, CAT_BOX)])
        for _ in range(2):
            assert store.recompute([first], partial(Vote(clock=lambda: 0.0), resumed=False))
            assert store.recompute(
                [first], partial(Merge(merger=facts("bbox_merger"), detectors=AVERAGE), resumed=False)
            )


def refused(log: pytest.LogCaptureFixture) -> str:
    return next((record.getMessage() for record in log.records if "may not do this" in record.message), "")


def read(settings: Settings) -> None:
    """What reports, the monitor and people do."""
    with closing(PostgresFindings(settings, "report")) as findings:
        findings.progress()
        findings.of_group("demo")
        for name in relations(settings):
            findings.table(f"TABLE {name}")
    with closing(PostgresFacts(settings, "search")) as facts:
        for field in FIELDS.values():
            facts.matching(Not(where.parse(field.examples[0])), Numbering.IMAGES)
        (first,) = facts.matching(where.parse("filename = '0.jpg'"), Numbering.IMAGES).tolist()
        assert facts.of([first], Numbering.IMAGES)[first].path == facts.image(first, Numbering.IMAGES).path
    with closing(PostgresBroker(settings, "monitor")) as broker:
        broker.queue_states([SERVICE])
    with closing(PostgresHistories(settings, "why")) as histories:
        (image,) = histories.find("0.jpg")
        assert histories.of(image) == histories.case(image).history


def relations(settings: Settings) -> list[str]:
    with closing(PostgresFindings(settings, "report")) as findings:
        _, rows = findings.table(
            "SELECT relname FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')"
        )
    return [name for (name,) in rows]


# --- no privilege is missing, and none too much ----------------------------------------------------------


def each_privilege_is_needed(place: Place, role: str, act: Callable[[Settings], None]) -> None:
    """`act` succeeds with the privileges of `role`, and fails without any one of them."""
    with place.account(role) as settings:
        act(settings)
        held = place.privileges(role)
        assert held
        for kind, name, privilege in held:
            place.rows(f"REVOKE {privilege} ON {kind} {name} FROM {role}")
            with pytest.raises(ConfigError, match="may not do this"):
                act(settings)
                pytest.fail(f"{role} does not need {privilege} on {name}")
            place.rows(f"GRANT {privilege} ON {kind} {name} TO {role}")
        act(settings)


def test_a_producer_has_what_it_needs_and_no_more(place):
    each_privilege_is_needed(place, "windmill_producer", partial(mend, place))


def test_a_worker_has_what_it_needs_and_no_more(place, caplog):
    caplog.set_level(logging.WARNING)
    images = add_images(place.owner, 3)

    def act(settings: Settings) -> None:
        caplog.clear()
        place.rows("DELETE FROM jobs; DELETE FROM merged_boxes; DELETE FROM results")
        work(settings, caplog, images)

    each_privilege_is_needed(place, "windmill_worker", act)


def test_a_reader_reads_everything_and_no_more(place):
    add_images(place.owner, 1)
    each_privilege_is_needed(place, "windmill_reader", read)
    assert {privilege for _, _, privilege in place.privileges("windmill_reader")} == {"SELECT"}
    with place.account("windmill_reader") as settings, pytest.raises(ConfigError, match="may not do this"):
        add_images(settings, 1, group="other")


def test_no_account_may_make_tables_or_touch_the_schema(place):
    for role in ("windmill_worker", "windmill_producer", "windmill_reader"):
        with place.account(role) as settings, pytest.raises(ConfigError, match="may not do this"):
            schema.apply(settings)


# --- making the roles ------------------------------------------------------------------------------------


def test_an_owner_who_may_not_make_roles_gets_the_tables_and_a_warning(postgres_server, caplog):
    with the_server_to_itself(postgres_server) as server:
        server.run("CREATE ROLE landlord LOGIN")
        server.run("CREATE DATABASE rented OWNER landlord")
        settings = Settings(db_host=server.host, db_port=server.port, db_name="rented", db_user="landlord")
        schema.apply(settings)
        (line, *_) = warnings = [record.message for record in caplog.records]
        assert len(warnings) == 3
        assert "CREATE ROLE windmill_worker" in line
        place = Place(server, settings)
        assert place.rows("SELECT images FROM pipeline_status") == [(0,)]

        for role in ("windmill_worker", "windmill_producer", "windmill_reader"):
            server.run(f"CREATE ROLE {role} NOLOGIN")
        caplog.clear()
        schema.apply(settings)  # as its owner again
        assert not caplog.records
        with place.account("windmill_producer") as producer:
            produce(producer)


def test_databases_that_are_made_at_once_share_the_roles(postgres_server):
    with the_server_to_itself(postgres_server) as server:
        names = [server.new_database() for _ in range(6)]
        failures = []

        def apply(name: str) -> None:
            try:
                schema.apply(Settings(db_host=server.host, db_port=server.port, db_name=name))
            except Exception as error:  # noqa: BLE001 -- whatever it is, the test shows it
                failures.append(error)

        threads = [threading.Thread(target=partial(apply, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        for name in names:
            place = Place(server, Settings(db_host=server.host, db_port=server.port, db_name=name))
            assert place.privileges("windmill_worker")


@contextmanager
def the_server_to_itself(_: Postgres) -> Iterator[Postgres]:
    """A server without Windmill's roles: they belong to the whole server. (The argument skips for us.)"""
    with Postgres() as server:
        yield server
