"""Bringing one store's images into another, and looking whether they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from windmill.index.store import VectorStore
from windmill.index.vectors import Ids, Vectors
from windmill.progress import Meter

BATCH = 10_000  # images that are compared and saved at once
SAMPLE = 1_000  # images that are read back and compared
ASKED = 100  # of these, images that are looked for by their own vectors
LEAST_FOUND = 0.95  # of those that are looked for: searches in large stores are approximate
_SAME = 1.0 - 2e-6  # a vector's with itself, as `vectors.best` rounds it: two images may have the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was done: the `ids` of the source's images, how many of them were `written` (the others were
    there), and the ids that only the target has (`stale`), which are `pruned` or not."""

    ids: Ids
    written: int
    stale: Ids
    pruned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a look at the target showed: how many images it has and was `expected` to have; of `sampled` ones,
    those that are not there or other than in the source (`wrong`); of `asked` ones, how many were `found` by
    their own vectors."""

    images: int
    expected: int
    sampled: int
    wrong: Ids
    asked: int
    found: int

    @property
    def well(self) -> bool:
        return self.images == self.expected and not len(self.wrong) and self.found >= LEAST_FOUND * self.asked


def load(source: VectorStore, target: VectorStore, meter: Meter, *, prune: bool) -> Loaded:
    """Writes what the target has not, or has otherwise: begun anew, it goes on where it broke off.

    Ids of all images are in memory (8 bytes each). Raises `StoreError`.
    """
    total, written, seen = source.count(), 0, [np.empty(0, np.int64)]
    for part in _batches(source):
        lacking = _lacking(part, target.fetch(part.ids))
        target.upsert(lacking)
        written += len(lacking)
        seen.append(part.ids)
        meter.update(sum(map(len, seen)), total)
    ids = np.concatenate(seen)
    stale = _stale(ids, target)
    if prune and len(stale):
        target.delete(stale)
    target.settle()
    return Loaded(ids=ids, written=written, stale=stale, pruned=prune)


def check(source: VectorStore, target: VectorStore, done: Loaded, rng: np.random.Generator) -> Checked:
    """Compares the count, a sample of images, and whether searches find some of these."""
    sample = source.fetch(rng.choice(done.ids, min(SAMPLE, len(done.ids)), replace=False))
    wrong = _lacking(sample, target.fetch(sample.ids)).ids
    asked = rng.permutation(len(sample))[:ASKED]
    found = sum(_finds(target, int(sample.ids[n]), sample, n) for n in asked.tolist())
    return Checked(
        images=target.count(),
        expected=len(done.ids) + (0 if done.pruned else len(done.stale)),
        sampled=len(sample),
        wrong=wrong,
        asked=len(asked),
        found=found,
    )


def _batches(store: VectorStore) -> Iterator[Vectors]:
    """All images in parts of 10,000 or so: each that is saved costs a segment, or a transaction."""
    parts: list[Vectors] = []
    for part in store.scan():
        parts.append(part)
        if sum(map(len, parts)) >= BATCH:
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[Vectors]) -> Vectors:
    return Vectors(
        ids=np.concatenate([part.ids for part in parts]),
        paths=[path for part in parts for path in part.paths],
        embeddings=np.concatenate([part.embeddings for part in parts]),
    )


def _lacking(wanted: Vectors, there: Vectors) -> Vectors:
    """Those of `wanted` that are not `there`, or with another path or vector."""
    places = {image_id: n for n, image_id in enumerate(there.ids.tolist())}
    rows = [
        n
        for n, image_id in enumerate(wanted.ids.tolist())
        if (place := places.get(image_id)) is None
        or wanted.paths[n] != there.paths[place]
        or not np.array_equal(wanted.embeddings[n], there.embeddings[place])
    ]
    return Vectors(
        ids=wanted.ids[rows], paths=[wanted.paths[n] for n in rows], embeddings=wanted.embeddings[rows]
    )


def _stale(ids: Ids, target: VectorStore) -> Ids:
    """The target's ids that are not among `ids`; it is read for that only if it has more images."""
    if target.count() == len(ids):
        return np.empty(0, np.int64)
    parts = [np.setdiff1d(part.ids, ids) for part in target.scan()]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _finds(store: VectorStore, image_id: int, sample: Vectors, n: int) -> bool:
    hits = store.search(sample.embeddings[n], 1)
    return bool(hits) and (hits[0].image_id == image_id or hits[0].score >= _SAME)
