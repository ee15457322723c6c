"""What searches in an index: its store, the model of queries, and what the database knows of its images."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np

from windmill import catalog
from windmill.errors import ConfigError, StoreError
from windmill.extras import needs
from windmill.findings import Findings
from windmill.index.answers import Told
from windmill.index.asking import ServiceEmbedder
from windmill.index.cutoffs import Cutoffs
from windmill.index.searching import Known, Query, QueryEmbedder, Searcher
from windmill.index.store import VectorStore
from windmill.index.stores import open_store
from windmill.index.vectors import Embedder, Ids
from windmill.model import Numbering
from windmill.postgres.facts import PostgresFacts
from windmill.settings import Settings

log = logging.getLogger(__name__)


def store(address: str, settings: Settings) -> VectorStore:
    """The index there. Raises `ConfigError`: none, or an extra is missing; `StoreUnavailable`."""
    return open_store(address, settings)


def model(embedder: Embedder, settings: Settings) -> QueryEmbedder:
    """The model of an index: the service of the catalog if it answers, else one in this process.

    Raises `ConfigError` that says both remedies.
    """
    served = _service(embedder, settings)
    if served is not None and served.healthy():
        return served
    try:
        return _in_process(embedder.service)
    except ConfigError as exc:
        name = embedder.service
        place = settings.service_config
        answers = "does not answer" if served else f"is not in {place}"
        raise ConfigError(
            f"{name} {answers}, and it cannot be loaded here ({exc}). Start it (`windmill serve {name}`; its"
            f' place in {place}: "{name}": {{"port": {catalog.facts(name).port}}}), or make it run here'
        ) from exc


def _service(embedder: Embedder, settings: Settings) -> ServiceEmbedder | None:
    """What the catalog lists; None where it does not, or there is no catalog."""
    if not settings.service_config.exists():
        return None
    entry = catalog.load(settings.service_config).services.get(embedder.service)
    if entry is None:
        return None
    most = round(settings.max_reply_mb * 2**20)
    return ServiceEmbedder(entry, embedder, timeout=entry.timeout or settings.request_timeout, most=most)


def _in_process(service: str) -> QueryEmbedder:
    with needs("services"):
        engine = importlib.import_module("windmill.engines.in_process")
    made: QueryEmbedder = engine.InProcess(service)
    return made


@dataclass(frozen=True, slots=True)
class Searching:
    """An index that is searched, and what the database knows of its images."""

    searcher: Searcher
    known: Known

    def __call__(self, query: Query) -> Told:
        """The answer, with what was found in its hits as far as the database says."""
        answer = self.searcher(query)
        ids = np.array(sorted(hit.image_id for hit in answer.hits), np.int64)
        return Told(answer, self._found(ids) if len(ids) else {})

    def _found(self, ids: Ids) -> Mapping[int, Findings]:
        """Nothing where the database is away: what was asked for is there all the same."""
        numbering = self.searcher.store.numbering
        try:
            return self.known.of(ids, numbering)
        except (ConfigError, StoreError) as exc:
            needed = numbering is Numbering.IMAGES
            log.log(logging.WARNING if needed else logging.DEBUG, "what was found in them: %s", exc)
            return {}


@contextmanager
def opened(address: str, settings: Settings) -> Iterator[Searching]:
    """The index there, with its model, which is loaded once the first query needs it, and what the database
    of the settings knows. Raises `ConfigError`."""
    with (
        closing(store(address, settings)) as index,
        closing(PostgresFacts(settings, "windmill search")) as known,
    ):
        asked = cache(lambda: model(index.embedder, settings))
        cutoff = Cutoffs(index.embedder, asked)
        yield Searching(Searcher(store=index, asked=asked, cutoff=cutoff, facts=known), known)
