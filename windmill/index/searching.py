"""Search: words, an image, or one that is in the index → the images nearest to it, and whether any fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from windmill.core.nearest import mean
from windmill.core.where import Condition
from windmill.errors import ConfigError, OtherEmbedder
from windmill.findings import Findings
from windmill.index.store import VectorStore
from windmill.index.vectors import Embedder, Floats, Hit, Ids
from windmill.model import MOST_ID, Numbering
from windmill.plain import line

_HALVES = re.compile("[\ud800-\udfff]")
MOST = 10_000  # hits of one search


class QueryEmbedder(Protocol):
    """The model that made an index, to make vectors of queries."""

    @property
    def embedder(self) -> Embedder:
        """What it is."""
        ...

    def text(self, words: str) -> Floats:
        """The vector of a text (dimension). Raises `ConfigError` for a model that reads none."""
        ...

    def image(self, name: str, data: bytes) -> Floats:
        """The vector of an image file (dimension). Raises `ImageError`, or a `ServiceError`."""
        ...


class Facts(Protocol):
    """What the pipeline knows of images."""

    def matching(self, where: Condition, numbering: Numbering) -> Ids:
        """The images that meet a condition, ascending."""
        ...


class Known(Facts, Protocol):
    """The same, and what was found in them."""

    def of(self, ids: Ids, numbering: Numbering) -> Mapping[int, Findings]:
        """What was found in these images, by their numbers in the index; those that are not in the database
        are left out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for: `text`, an `image` (its name and its file), both, or what is `like` an image of
    the index; at most `most`, that meet `where`. `least` is the score below which nothing fits (None: what
    is known of the model)."""

    text: str = ""
    image: tuple[str, bytes] | None = None
    like: int | None = None
    most: int = 10
    where: Condition | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The hits that fit, best first. `best` is the best score there was (None: no image was looked at),
    `least` the cut-off, `matching` how many images meet the query's condition (None: it has none)."""

    hits: tuple[Hit, ...]
    best: float | None
    least: float
    matching: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Searcher:
    """Search in one store. `asked` gives the model when the first query needs one, `cutoff` the least score
    that fits a query, of which it sees the vector, too (`cutoffs.Cutoffs`); `facts` is None where there is
    no database, and then no condition can be asked for."""

    store: VectorStore
    asked: Callable[[], QueryEmbedder]
    cutoff: Callable[[Query, Floats], float]
    facts: Facts | None = None

    def __call__(self, query: Query) -> Answer:
        """Raises `ConfigError` for a query that asks for nothing, or for what is not there."""
        check(query)
        among = self._among(query.where)
        vector = self._vector(query)
        extra = 1 if query.like is not None else 0  # the image itself, which nobody asked for
        hits = self.store.search(vector, query.most + extra, among)
        others = [hit for hit in hits if hit.image_id != query.like][: query.most]
        least = self.cutoff(query, vector) if query.least is None else query.least
        return Answer(
            hits=tuple(hit for hit in others if hit.score >= least),
            best=others[0].score if others else None,
            least=least,
            matching=None if among is None else len(among),
        )

    def _among(self, where: Condition | None) -> Ids | None:
        if where is None:
            return None
        if self.facts is None:
            raise ConfigError("--where asks the database, and none is set: DB_HOST names its machine")
        return self.facts.matching(where, self.store.numbering)

    def _vector(self, query: Query) -> Floats:
        if query.like is not None:
            return self._stored(query.like)
        model = self.asked()
        same(self.store.embedder, model.embedder)
        vectors = [model.text(query.text.strip())] if query.text.strip() else []
        if query.image is not None:
            vectors.append(model.image(*query.image))
        return mean(vectors)

    def _stored(self, image_id: int) -> Floats:
        found = self.store.fetch(np.array([image_id], np.int64))
        if not len(found):
            raise ConfigError(f"image {image_id} is not in the index")
        vector: Floats = found.embeddings[0]
        return vector


def same(index: Embedder, asked: Embedder) -> None:
    """Raises `OtherEmbedder` where not the model of the index was asked."""
    if asked != index:
        raise OtherEmbedder(
            f"the index has vectors of {index}, and {asked} was asked: nothing can be compared; start the"
            " model that made the index, or build it anew"
        )


def check(query: Query) -> None:
    """Raises `ConfigError` for a query that asks for nothing, or for too much."""
    given: Sequence[object] = (query.text.strip() or None, query.image)
    if query.like is None and given == (None, None):
        raise ConfigError("what is looked for? Say --text WORDS, --image FILE or --like IMAGE_ID")
    if query.like is not None and given != (None, None):
        raise ConfigError("--like IMAGE_ID is a query by itself: leave --text and --image out")
    if query.like is not None and not 0 <= query.like <= MOST_ID:
        raise ConfigError(f"--like {line(query.like, 40)}: expected an image's id, 0 to {MOST_ID}")
    if _HALVES.search(query.text):
        raise ConfigError(f"{query.text[:80]!r}: not UTF-8, or half of a character: no words")
    if not 1 <= query.most <= MOST:
        raise ConfigError(f"--top-k {query.most}: expected 1 to {MOST:,}")
