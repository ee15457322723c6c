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
    """What became of a collection: how many images were embedded now, how many were in the index already,
    and a line for each bad file, of which `unnamed` more were only counted.

    `without`: photos that the model makes no vector of (no face is in them). `ignored`: files that lie among
    photos and are rightly none.
    """

    added: int
    known: int
    bad: tuple[str, ...]
    unnamed: int = 0
    without: int = 0
    ignored: int = 0

    @property
    def bad_count(self) -> int:
        return len(self.bad) + self.unnamed


class Engine(Protocol):
    """Embeds what a plan says that the store has not; what it has written stays if it is interrupted."""

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built: ...
