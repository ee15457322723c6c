"""How many jobs a worker of a service has in hand, for how long, and how many it settles together."""

from __future__ import annotations

import math

from windmill.catalog import INDEX_WORKERS, MERGER, VOTER, Service
from windmill.committing import BATCH, Gathering
from windmill.core.reach import AHEAD, Reach
from windmill.errors import ConfigError
from windmill.settings import Settings

FETCHING = 120.0  # seconds for the image of a job, at most
_RECOMPUTE = (MERGER, VOTER)  # they call no service, and all is done in the commit


def check_hold(service: Service, settings: Settings) -> None:
    """Raises `ConfigError` where RabbitMQ would take jobs away that are in good hands.

    The last of the jobs that were taken in advance waits for as many rounds as they make.
    """
    if settings.broker_kind != "rabbitmq" or service.name in _RECOMPUTE:
        return
    taken, at_once, seconds = (
        _prefetch(service, settings),
        concurrency(service, settings),
        timeout(service, settings),
    )
    indexes, limit = service.name in INDEX_WORKERS, settings.queue_ack_timeout
    rounds, gathered = math.ceil(taken / at_once), settings.index_segment_seconds if indexes else 0.0
    longest_hold = rounds * (seconds + FETCHING) + gathered
    if longest_hold < limit:
        return
    longest = math.ceil((limit - gathered) / rounds - FETCHING) - 1
    advice = f"set that timeout to {longest} at most, take" if longest > 0 else "take"
    raise ConfigError(
        f"{service.name}: a job may be in hand for {longest_hold:g} s, and after"
        f" QUEUE_ACK_TIMEOUT={limit:g} RabbitMQ takes it away. {taken} jobs (WORKER_PREFETCH_COUNT),"
        f" {at_once} at once ({'WORKER_BATCH_SIZE' if indexes else 'WORKER_CONCURRENCY'}), for {seconds:g} s"
        f" each (REQUEST_TIMEOUT, or the entry's timeout) and {FETCHING:g} s for each image: {advice} less in"
        " advance, or raise RabbitMQ's consumer_timeout and QUEUE_ACK_TIMEOUT with it"
    )


def reach(service: Service, settings: Settings) -> Reach:
    """How many it takes in advance. A number that a person has set stays."""
    usual, fixed = _prefetch(service, settings), bool(settings.worker_prefetch_count)
    if service.name not in INDEX_WORKERS:
        return Reach(usual, fixed=fixed)
    seconds = settings.index_segment_seconds
    return Reach(
        usual,
        ahead=seconds + AHEAD,
        more=settings.index_segment_size,
        silence=3 * seconds + AHEAD,
        fixed=fixed,
    )


def gathering(service: Service, settings: Settings, taken: Reach) -> Gathering | None:
    """A segment's images, as far as those leave enough in hand for the service (ADR 39)."""
    if service.name not in INDEX_WORKERS:
        return None
    at_service = concurrency(service, settings)
    return Gathering(
        most=lambda: max(1, min(settings.index_segment_size, taken.size - at_service)),
        seconds=settings.index_segment_seconds,
    )


def concurrency(service: Service, settings: Settings) -> int:
    """How many it works on at once; 0: all is done in the commit."""
    if service.name in _RECOMPUTE:
        return 0
    indexes = service.name in INDEX_WORKERS
    return service.concurrency or (settings.worker_batch_size if indexes else settings.worker_concurrency)


def timeout(service: Service, settings: Settings) -> float:
    """Seconds that its service has for an image."""
    return service.timeout or settings.request_timeout


def _prefetch(service: Service, settings: Settings) -> int:
    """WORKER_PREFETCH_COUNT, else twice the concurrency; a stage that recomputes gathers whole batches."""
    return settings.worker_prefetch_count or 2 * concurrency(service, settings) or BATCH
