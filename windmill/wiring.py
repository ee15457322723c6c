"""Builds adapters from settings: the one place that knows which adapter serves which port."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from windmill import calibration, catalog, holding
from windmill.breaker import Breaker
from windmill.catalog import BOX_WORKERS, INDEX_WORKERS, MERGER, SCORER, VOTER, Catalog, Service
from windmill.core import calibrated, voting
from windmill.extras import needs
from windmill.files import check_roots
from windmill.handlers.analyze import Analyze
from windmill.handlers.base import Handler, Recomputation
from windmill.handlers.embed import Embed
from windmill.handlers.postprocess import Postprocess
from windmill.handlers.score import Score
from windmill.handlers.vote import Rule, Vote
from windmill.heartbeats import Heart, Pulse
from windmill.images import ImageFiles
from windmill.middleware.base import Middleware
from windmill.middleware.job_log import JobLog
from windmill.model import Detectors, Numbering, QueueState
from windmill.one_core import OneCore
from windmill.ports import Broker, Gate, ImageSource, ServiceCaller, Store
from windmill.postgres import schema
from windmill.postgres.graveyard import PostgresGraveyard
from windmill.postgres.ledger import PostgresLedger
from windmill.postgres.registry import PostgresImages
from windmill.postgres.store import PostgresStore
from windmill.runner import Limits, Runner
from windmill.service_http import HttpService
from windmill.settings import Settings
from windmill.writing import Passing, Recompute, Save, Writer

if TYPE_CHECKING:
    from windmill.index.store import VectorStore
    from windmill.index.vectors import Embedder
    from windmill.mysql_heartbeats import MySQLHeartbeats
    from windmill.postgres.histories import PostgresHistories

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConsensusRule:
    """How votes become a consensus, and the name that the results carry."""

    identity: str
    vote: Rule


def _merge(service: Service, settings: Settings) -> Recomputation:
    from windmill.handlers.merge import Merge  # brings NumPy: 9 MB that other workers do without

    return Merge(merger=service, detectors=detectors(settings))


Looking = Callable[[Service, ImageSource, ServiceCaller], Handler]

# The kinds of work. What is not named here is a service that looks at whole images.
RECOMPUTATIONS: Mapping[str, Callable[[Service, Settings], Recomputation]] = {
    MERGER: _merge,
    VOTER: lambda _, settings: _vote(consensus_rule(settings)),
}
HANDLERS: Mapping[str, Looking] = {
    SCORER: lambda service, images, caller: Score(service=service, images=images, caller=caller),
    **dict.fromkeys(
        BOX_WORKERS,
        lambda service, images, caller: Postprocess(worker=service, images=images, caller=caller),
    ),
    **dict.fromkeys(
        INDEX_WORKERS, lambda service, images, caller: Embed(worker=service, images=images, caller=caller)
    ),
}


def services(settings: Settings) -> Catalog:
    """The catalog that SERVICE_CONFIG names."""
    return catalog.load(settings.service_config)


def detectors(settings: Settings) -> Detectors:
    """By what boxes are merged: what CALIBRATION says of detectors. Raises `ConfigError`."""
    return calibration.load(settings.calibration_file).boxes


def consensus_rule(settings: Settings) -> ConsensusRule:
    """What CONSENSUS_ALGORITHM and CALIBRATION say. Raises `ConfigError`."""
    if settings.consensus_algorithm == voting.ALGORITHM:
        return ConsensusRule(voting.ALGORITHM, voting.vote)
    voters = calibration.load(settings.calibration_file).voters
    identity = calibrated.identity(voters)
    return ConsensusRule(identity, partial(calibrated.vote, voters=voters, algorithm=identity))


def _vote(rule: ConsensusRule) -> Vote:
    return Vote(clock=time.perf_counter, rule=rule.vote, identity=rule.identity)


def stage_rule(stage: str, settings: Settings) -> str:
    """What the results of MERGER or VOTER carry if they are made now. Raises `ConfigError`."""
    if stage == MERGER:
        from windmill.core import merging

        return str(merging.rule(detectors(settings)))
    return consensus_rule(settings).identity


def broker(settings: Settings, name: str) -> AbstractContextManager[Broker]:
    """A connection to the broker of BROKER, under `name`."""
    if settings.broker_kind == "rabbitmq":
        from windmill import rabbitmq

        return closing(rabbitmq.connect(settings, name))
    from windmill.postgres import broker as postgres_broker

    return closing(postgres_broker.connect(settings, name))


def publisher(settings: Settings) -> AbstractContextManager[Broker]:
    """The producer's connection to the broker."""
    return broker(settings, settings.worker_id_for("producer"))


def queue_states(settings: Settings, names: Iterable[str]) -> Mapping[str, QueueState]:
    """What lies in the queues of each service, and how many take from them. Raises `BrokerError`."""
    with broker(settings, settings.worker_id_for("monitor")) as connection:
        return connection.queue_states(names)


def ledger(settings: Settings) -> AbstractContextManager[PostgresLedger]:
    """The producer's side of the database."""
    return closing(PostgresLedger(settings, settings.worker_id_for("producer")))


def graveyard(settings: Settings) -> AbstractContextManager[PostgresGraveyard]:
    """The jobs that were given up."""
    return closing(PostgresGraveyard(settings, settings.worker_id_for("dead")))


def histories(settings: Settings) -> AbstractContextManager[PostgresHistories]:
    """What happened to each image."""
    from windmill.postgres.histories import PostgresHistories

    return closing(PostgresHistories(settings, settings.worker_id_for("why")))


def caller(service: Service, settings: Settings) -> HttpService:
    """The HTTP side of one service."""
    return HttpService(
        service,
        timeout=holding.timeout(service, settings),
        most=round(settings.max_reply_mb * 2**20),
    )


def image_registry(settings: Settings) -> AbstractContextManager[PostgresImages]:
    """The table of images."""
    return closing(PostgresImages(settings, settings.worker_id_for("ingest")))


def images(settings: Settings) -> ImageFiles:
    """Image bytes from files and URLs."""
    return ImageFiles(settings)


def apply_schema(settings: Settings) -> None:
    """The tables, in the database of the settings."""
    schema.apply(settings)


def heartbeat_log(settings: Settings) -> MySQLHeartbeats:
    """The heartbeats, for a box that monitors."""
    from windmill.mysql_heartbeats import MySQLHeartbeats

    return MySQLHeartbeats(settings)


@contextmanager
def _heartbeats(
    service: Service, settings: Settings, name: str, depth: Callable[[], int]
) -> Iterator[Sequence[Middleware]]:
    """The middleware that counts and beats, where monitoring is on."""
    if not settings.enable_monitoring:
        yield ()
        return
    pulse = Pulse()
    with closing(heartbeat_log(settings)) as sink:
        heart = Heart(
            pulse,
            sink,
            worker_id=name,
            service=service.name,
            node=settings.node,
            interval=settings.heartbeat_interval,
            depth=depth,
        )
        heart.start()
        with closing(heart):
            yield (pulse,)


@contextmanager
def worker(service: Service, settings: Settings, stop: threading.Event) -> Iterator[Runner]:
    """Everything that one worker needs, connected; what it did not settle goes back at the end.

    Raises `ConfigError`.
    """
    holding.check_hold(service, settings)
    name = settings.worker_id_for(service.name)
    with ExitStack() as stack:
        connection = stack.enter_context(broker(settings, name))
        reach = holding.reach(service, settings)
        consumer = stack.enter_context(closing(connection.consumer(service.name, reach)))
        watchers = [JobLog(), *stack.enter_context(_heartbeats(service, settings, name, consumer.depth))]
        if sys.platform == "linux":
            watchers.append(OneCore())
        store = stack.enter_context(closing(PostgresStore(settings, name)))
        handler, write, gates = _work(service, settings, store, watchers)
        yield Runner(
            consumer=consumer,
            publisher=connection,
            handler=handler,
            write=write,
            limits=Limits(
                concurrency=holding.concurrency(service, settings),
                max_retries=settings.max_retries,
                grace=settings.shutdown_grace,
            ),
            stop=stop,
            gates=gates,
            middleware=watchers,
            gathering=holding.gathering(service, settings, reach),
        )


def _work(
    service: Service, settings: Settings, store: Store, watchers: Sequence[Middleware]
) -> tuple[Handler, Writer, Sequence[Gate]]:
    """The handler for the jobs of `service`, how its outcomes are written, and what it waits for."""
    if service.name in RECOMPUTATIONS:
        return Passing(), Recompute(store, RECOMPUTATIONS[service.name](service, settings)), ()
    check_roots(settings.image_roots)
    calling = caller(service, settings)
    looking = HANDLERS.get(service.name, _analyze)(service, images(settings), calling)
    breaker = Breaker(looking, calling, watchers)
    if service.name in INDEX_WORKERS:
        return _indexing(breaker, calling, settings, store, watchers)
    return breaker, Save(store), (breaker,)


def _indexing(
    breaker: Breaker, calling: HttpService, settings: Settings, store: Store, watchers: Sequence[Middleware]
) -> tuple[Handler, Writer, Sequence[Gate]]:
    """What an index worker does beside: it writes vectors, of one model. Raises `ConfigError`."""
    with needs("index"):
        from windmill.index.stores import background, create_store
        from windmill.index.writing import IndexWriter, OneModel

    def begun(embedder: Embedder) -> VectorStore:
        log.info("vectors of %s go into the index at %s", embedder, settings.index_prefix)
        return create_store(settings.index_prefix, embedder, Numbering.IMAGES, settings)

    writer = IndexWriter(begun, Save(store), background(settings.index_prefix))
    one_model = OneModel(breaker, writer, calling.version, watchers)
    return one_model, writer, (breaker, one_model)


def _analyze(service: Service, source: ImageSource, caller: ServiceCaller) -> Handler:
    return Analyze(service=service, images=source, caller=caller)
