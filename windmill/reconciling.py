"""Finds what the queues lost: what the ledger and the tables expect, and no queue holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from windmill.catalog import BOX_WORKERS, BUILT_IN, MERGER, SCORER, STAGES, VOTER, Catalog
from windmill.core import routing, wire
from windmill.errors import MessageError
from windmill.model import Job, LostCaptions, LostCrops, LostDispatches, LostStage, Selection
from windmill.ports import Broker, CountingLedger
from windmill.progress import Meter

_BATCH = 1000


def queues(catalog: Catalog, ledger: CountingLedger) -> tuple[str, ...]:
    """The services and stages whose queues may hold jobs: this box's, and what was asked for elsewhere."""
    return tuple(dict.fromkeys((*catalog.services, *STAGES, *ledger.open_services())))


def count(services: Sequence[str], broker: Broker, ledger: CountingLedger, meter: Meter) -> datetime:
    """Notes every job that lies in the queues of `services`, in bounded memory; gives when it began."""
    began = ledger.begin_count()
    seen = 0
    for service in services:
        jobs = _jobs(broker, service)
        while batch := list(islice(jobs, _BATCH)):
            ledger.counted(service, batch)
            seen += len(batch)
            meter.update(seen)
    ledger.end_count()
    return began


def lost(catalog: Catalog, services: Sequence[str], before: datetime) -> Iterator[Selection]:
    """What to look for, in the order of the pipeline: each selection is of jobs that no queue holds.

    Stages that run elsewhere count too: this catalog says what follows there, or what usually does.
    """
    yield LostDispatches(services=tuple(services), before=before)
    spatial = tuple(name for name, service in BUILT_IN.items() if "spatial" in service.service_types)
    for stage in (MERGER, VOTER):
        yield LostStage(services=(stage,), before=before, spatial=spatial)
    for worker in catalog.stage(MERGER).triggers:
        if worker in BOX_WORKERS:
            kept_as, only = BOX_WORKERS[worker], routing.looks_only_at(worker)
            yield LostCrops(services=(worker,), kept_as=kept_as, before=before, only=only)
    captioners = tuple(name for name in services if SCORER in catalog.stage(name).triggers)
    if captioners:
        yield LostCaptions(services=(SCORER,), captioners=captioners, before=before)


def _jobs(broker: Broker, service: str) -> Iterator[Job]:
    """The jobs in the queues of `service`; what is no job is its worker's to bury."""
    for body in broker.census(service):
        try:
            yield wire.decode(body)
        except MessageError:
            continue
