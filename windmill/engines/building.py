"""What all engines have in common: what to embed, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from windmill.index.store import VectorStore
from windmill.progress import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A collection to embed: the images of `source` (a folder; with Spark whatever it reads), by `service`,
    `batch` at once."""

    source: str
    service: str
    batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """How many images were embedded now, how many were in the index already, and a line for each bad file."""

    added: int
    known: int
    bad: tuple[str, ...]


class Engine(Protocol):
    """Embeds what a plan says that the store has not; what it has written stays if it is interrupted."""

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built: ...
