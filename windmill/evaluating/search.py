"""How good search is: do captions find their photo, and is what no photo shows said not to fit?

It is measured by the code of `windmill search`, on a store in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from windmill import vocabularies
from windmill.core.nearest import mean
from windmill.errors import ConfigError
from windmill.evaluating.cutting import Scored, learned, told_right
from windmill.evaluating.truth import Known
from windmill.index.cutoffs import EVERYTHING, Cutoffs, common, kind
from windmill.index.memory import MemoryStore
from windmill.index.searching import Query, QueryEmbedder, Searcher
from windmill.index.vectors import Embedder, Floats, Vectors
from windmill.model import Numbering
from windmill.progress import meter

AT = (1, 5, 10)  # hits among which the right photo counts
_PERSON = "person"  # whom most photos show: no object to ask for
_WORD = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was measured of one embedder, all of it shares of queries.

    `recall` by number of hits. `kept` are fitting queries to which something is said to fit, and `hidden`
    those that fit nothing and are told so, by their kind; `learned` is the mean of all that where the half of
    the photos and of the words that sets the rule is not the half that it is judged on (0.5 is guessing).
    """

    service: str
    photos: int
    captions: int
    recall: Mapping[int, float]
    kept: Mapping[str, float]
    hidden: Mapping[str, float]
    learned: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One query: `own` is the photo that it belongs to (None: no photo shows it)."""

    text: str
    kind: str
    own: int | None = None


class Model(QueryEmbedder, Protocol):
    """An embedder, as `engines.in_process.InProcess` is one."""

    @property
    def batch(self) -> int: ...

    def prepared(self, name: str, data: bytes) -> Any: ...

    def vectors(self, inputs: Sequence[Any]) -> list[Floats]: ...


class Remembering:
    """A model that is asked for each text once."""

    def __init__(self, model: QueryEmbedder) -> None:
        self.embedder: Embedder = model.embedder
        self.image = model.image
        self._model = model
        self._known: dict[str, Floats] = {}

    def text(self, words: str) -> Floats:
        if words not in self._known:
            self._known[words] = self._model.text(words)
        return self._known[words]


def measure(embedder: Model, photos: Sequence[Known]) -> Found:
    """Raises `ConfigError` for a model that reads no words, and for photos without captions or objects."""
    asked = queries(photos)
    model = Remembering(embedder)
    model.text(asked[0].text)  # who reads none says so before all photos are looked at
    store = MemoryStore(embedder.embedder, Numbering.CONTENT)
    store.upsert(_vectors(embedder, photos))
    search = Searcher(store=store, asked=lambda: model, cutoff=Cutoffs(embedder.embedder, lambda: model))
    captions = [one for one in asked if one.kind == "captions"]
    shared = common(model)
    words = [_scored(search, shared, n, one) for n, one in enumerate(asked)]
    scored = [*words, *_pictures(search, photos)]
    return Found(
        service=embedder.embedder.service,
        photos=len(photos),
        captions=len(captions),
        recall=_recall(search, captions),
        kept=_shares(scored, fits=True),
        hidden=_shares(scored, fits=False),
        learned=_halves(words),
    )


def queries(photos: Sequence[Known]) -> list[Asked]:
    """Every caption; every object that a photo shows ("a dog"); and what no photo shows: ImageNet's words of
    which neither a caption nor an object has any part, bare and in a sentence. Raises `ConfigError`."""
    captions = [Asked(text, "captions", n) for n, one in enumerate(photos) for text in one.captions]
    objects = {thing.label: n for n, one in enumerate(photos) for thing in one.objects}
    shown = [Asked(_one(name), "objects", n) for name, n in objects.items() if name != _PERSON]
    if not captions or not shown:
        raise ConfigError("photos.json: photos with captions and objects are needed")
    absent = _absent(" ".join([*objects, *(one.text for one in captions)]))
    forms = (("a word", _one), ("a sentence", lambda name: f"a photo of {_one(name)} in a city"))
    return [*captions, *shown, *(Asked(form(name), kind) for kind, form in forms for name in absent)]


def _absent(said: str) -> list[str]:
    words = set(_WORD.findall(said.lower()))
    known = words | {f"{word}s" for word in words} | {word.removesuffix("s") for word in words}
    return [name for name in vocabularies.names("imagenet") if known.isdisjoint(_WORD.findall(name.lower()))]


def _one(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _vectors(model: Model, photos: Sequence[Known]) -> Vectors:
    found: list[Floats] = []
    with meter(model.embedder.service, "photos", len(photos)) as told:
        for start in range(0, len(photos), model.batch):
            part = photos[start : start + model.batch]
            found += model.vectors([model.prepared(one.path.name, one.read()) for one in part])
            told.update(len(found))
    ids = np.arange(len(photos), dtype=np.int64)
    return Vectors(ids=ids, paths=[one.path.name for one in photos], embeddings=np.array(found))


def _recall(search: Searcher, captions: Sequence[Asked]) -> Mapping[int, float]:
    ranks = []
    for one in captions:
        hits = search(Query(text=one.text, most=max(AT), least=EVERYTHING)).hits
        ranks.append(next((n for n, hit in enumerate(hits) if hit.image_id == one.own), max(AT)))
    return {most: float(np.mean([rank < most for rank in ranks])) for most in AT}


def _scored(search: Searcher, shared: Floats, number: int, one: Asked) -> Scored:
    query, vector = Query(text=one.text, most=1, least=EVERYTHING), search.asked().text(one.text)
    (hit,) = search(query).hits
    return Scored(
        kind=one.kind,
        fits=one.own is not None,
        best=hit.score,
        least=search.cutoff(query, vector),
        near=float(vector @ shared),
        group=number if one.own is None else one.own,
    )


def _pictures(search: Searcher, photos: Sequence[Known]) -> Iterator[Scored]:
    """Each photo as a query, alone and with its first caption: to all others, of which one shows such an
    object, too; and to those that show none of its objects, of which none should fit."""
    things = [{thing.label for thing in one.objects} - {_PERSON} for one in photos]
    for n, one in enumerate(photos):
        others = [m for m in range(len(photos)) if m != n]
        strange = [m for m in others if things[n].isdisjoint(things[m])]
        if not one.captions or not strange or len(strange) == len(others):
            continue
        image = search.store.fetch(np.array([n], np.int64)).embeddings[0]
        query = Query(image=(one.path.name, b""))
        both = mean([image, search.asked().text(one.captions[0])])
        for asked, vector in ((query, image), (replace(query, text=one.captions[0]), both)):
            least = search.cutoff(asked, vector)
            for among in (others, strange):
                (hit,) = search.store.search(vector, 1, np.array(among, np.int64))
                yield Scored(
                    kind=kind(asked).value,
                    fits=among is others,
                    best=hit.score,
                    least=least,
                    near=0.0,
                    group=n,
                )


def _shares(scored: Sequence[Scored], *, fits: bool) -> Mapping[str, float]:
    names = dict.fromkeys(one.kind for one in scored if one.fits == fits)
    shares = {name: [one for one in scored if (one.kind, one.fits) == (name, fits)] for name in names}
    return {
        name: float(np.mean([(one.best >= one.least) == fits for one in some]))
        for name, some in shares.items()
    }


def _halves(scored: Sequence[Scored]) -> float:
    """Each half of the photos and of the words judged by the rule that the other half sets."""
    halves = [[one for one in scored if one.group % 2 == side] for side in (0, 1)]
    return float(np.mean([told_right(one, learned(other)) for one, other in (halves, halves[::-1])]))
