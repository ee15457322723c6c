"""What `windmill index build --engine queue` connects: the database, the broker, and workers of its own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from windmill import wiring
from windmill.catalog import INDEX_WORKERS, Service
from windmill.children import Children
from windmill.commands.ingest import read
from windmill.engines.queue import NAMED, Means, Queue, Telling
from windmill.errors import ConfigError, OtherEmbedder
from windmill.index.awaited import Awaited
from windmill.index.files import FaissFiles, open_index
from windmill.ingesting import Admitted, candidates, ingest
from windmill.model import Numbering
from windmill.progress import Mute
from windmill.settings import Settings

log = logging.getLogger(__name__)

_WINDMILL = (sys.executable, "-m", "windmill")
_MOST = 64  # workers of one command
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for: images of `folder` in `group`, embedded by `service`, `batch` at once, into the
    index at `prefix`; by `workers` that are started here, or by those that others start (0)."""

    folder: str
    group: str
    service: str
    prefix: Path
    batch: int
    workers: int


def worker_of(service: str) -> str:
    """The index worker that asks a service. Raises `ConfigError`."""
    for worker, called in INDEX_WORKERS.items():
        if called == service:
            return worker
    known = ", ".join(INDEX_WORKERS.values())
    raise ConfigError(f"--service {service}: no index worker asks it; there are such for {known}")


def engine(wanted: Wanted, settings: Settings) -> Queue:
    """The engine. Raises `ConfigError`."""
    worker = worker_of(wanted.service)
    if not Path(wanted.folder).is_dir():
        raise ConfigError(f"--image-dir {wanted.folder}: no such folder")
    if not 0 <= wanted.workers <= _MOST:
        raise ConfigError(f"--workers {wanted.workers}: expected 0 to {_MOST}")
    return Queue(
        opening=lambda: _means(wanted, settings),
        worker=worker,
        place=str(wanted.prefix.absolute()),
        max_queue_depth=settings.max_queue_depth,
    )


def index(wanted: Wanted) -> Awaited:
    """The index that workers fill, and begin. Raises `OtherEmbedder`."""

    def opened() -> FaissFiles:
        found = open_index(wanted.prefix)
        if found.numbering != Numbering.IMAGES or found.embedder.service != wanted.service:
            raise OtherEmbedder(
                f"{wanted.prefix}: an index by {found.embedder}, built without a database, or by another"
                " service: name another prefix, or delete that index"
            )
        return found

    awaited = Awaited(opened)
    awaited.begun()  # so that an index of another kind is told before anything is sent
    return awaited


@contextmanager
def _means(wanted: Wanted, settings: Settings) -> Iterator[Means]:
    """Connected, with workers where some are to be started."""
    with wiring.ledger(settings) as ledger, wiring.publisher(settings) as broker, Children() as children:
        if wanted.workers:
            _start(wanted, settings, children)
        yield Means(ledger=ledger, broker=broker, admit=_Admitting(wanted, settings), check=children.check)


def _start(wanted: Wanted, settings: Settings, children: Children) -> None:
    """The service, unless it answers at its place, and workers that ask it. They end with this command."""
    worker = wiring.services(settings)[worker_of(wanted.service)]
    logs, batch = settings.log_dir.absolute(), str(wanted.batch)
    if not wiring.caller(worker, settings).healthy():
        _serve(worker, wanted, children, logs)
    environment = {
        "INDEX_PREFIX": str(wanted.prefix.absolute()),
        "WORKER_BATCH_SIZE": batch,
        "WORKER_ID": "",
    }
    for number in range(wanted.workers):
        name = f"{worker.name}-{number}"
        command = [*_WINDMILL, "work", worker.name]
        children.start(name, command, env=environment, log=logs / f"{name}.log")
    log.info("%d of %s work here; their logs are in %s", wanted.workers, worker.name, logs)


def _serve(worker: Service, wanted: Wanted, children: Children, logs: Path) -> None:
    if worker.host not in _HERE:
        log.warning("%s does not answer at %s: work waits until it does", wanted.service, worker.url)
        return
    command = [*_WINDMILL, "serve", f"{wanted.service}={worker.port}", "--batch", str(wanted.batch)]
    children.start(wanted.service, command, env={}, log=logs / f"{wanted.service}.log")


@dataclass(frozen=True, slots=True)
class _Admitting:
    """An `engines.queue.Admit`: `windmill ingest`, that tells of images as it goes."""

    wanted: Wanted
    settings: Settings

    def __call__(self, folder: str, tell: Callable[[Sequence[int]], None]) -> Admitted:
        files = wiring.images(self.settings)
        with wiring.image_registry(self.settings) as registry:
            return ingest(
                candidates(folder, self.wanted.group, sys.stdin),
                Telling(registry, tell),
                read=lambda one: read(files, one),
                measure=files.inspect,
                meter=Mute(),
                done=Admitted(most_named=NAMED),
            )
