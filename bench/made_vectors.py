"""Vectors as models make them, of any number, for benchmarks of search: seeded, and made in parts.

    python -m bench.made_vectors    how like real ones they are: MiniLM's, of COCO's captions

Directions of a model's embeddings are not alike: their variance falls with a power of their rank, things of a
kind lie together, some kinds are frequent, and all lie to one side (Ethayarajh 2019, arXiv:1909.00512). So
here: a latent vector of 160 numbers with variances i^-0.6, of which 0.6 is that of its cluster (4,000, whose
sizes follow a power law, too) and 0.4 its own; a shared direction; noise in all dimensions; length 1. `even`
has none of that: directions from all over the sphere, where the nearest is hardly nearer than any other, the
worst case of every index, which no model makes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from windmill.index.vectors import Floats, Ids
from windmill.services import registry
from windmill.services.base import EMBED_TEXT

DIMENSION = 512
PART = 1000  # vectors that are made at once: those of a segment
_LATENT, _FALL, _CLUSTERS, _SHARED, _NOISE, _SIDE = 160, 0.6, 4000, 0.6, 0.15, 0.3
_QUERIES = 1 << 40  # where their numbers begin: those of vectors never come so far
_CAPTIONS = Path(__file__).parents[1].parent / "shared" / "data" / "coco-photos" / "photos.json"


@dataclass(frozen=True)
class Made:
    """A distribution of vectors; `even` is the worst case."""

    dimension: int = DIMENSION
    even: bool = False
    seed: int = 0
    _basis: Floats = field(init=False, repr=False)
    _centers: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chance = np.random.default_rng(self.seed)
        latent = min(_LATENT, self.dimension)
        basis = np.linalg.qr(chance.standard_normal((self.dimension, latent)))[0]
        spread = np.arange(1, latent + 1) ** (-_FALL / 2)
        scaled = basis * (spread / np.linalg.norm(spread))
        object.__setattr__(self, "_basis", scaled.astype(np.float32))
        object.__setattr__(self, "_centers", chance.standard_normal((_CLUSTERS, latent), np.float32))

    def vectors(self, count: int) -> Iterator[tuple[Ids, Floats]]:
        """Numbers 1 to `count` and their vectors (n × dimension), `PART` at a time."""
        for start in range(0, count, PART):
            ids = np.arange(start + 1, min(start + PART, count) + 1)
            yield ids, self._part(start, len(ids))

    def queries(self, count: int) -> Floats:
        """Others of the same kind (n × dimension)."""
        return self._part(_QUERIES, count)

    def _part(self, number: int, count: int) -> Floats:
        chance = np.random.default_rng([self.seed, number])
        noise = chance.standard_normal((count, self.dimension), np.float32) * self.dimension**-0.5
        found = noise if self.even else self._thing(chance, count) + _NOISE * noise
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

    def _thing(self, chance: np.random.Generator, count: int) -> Floats:
        sizes = np.arange(10, _CLUSTERS + 10) ** -0.7
        centers = self._centers[chance.choice(_CLUSTERS, count, p=sizes / sizes.sum())]
        own = chance.standard_normal(centers.shape, np.float32)
        latent = _SHARED**0.5 * centers + (1 - _SHARED) ** 0.5 * own
        side = self._basis[:, 0] / np.linalg.norm(self._basis[:, 0])
        return np.asarray(latent @ self._basis.T + np.float32(_SIDE) * side, np.float32)


def path(number: int) -> str:
    """Where the image of a vector would lie."""
    return f"photos/{number // 10_000:04}/{number:09}.jpg"


def told(vectors: Floats) -> str:
    """How many directions count, and how much nearer the nearest are than the others."""
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    counting = variances.sum() ** 2 / (variances**2).sum()
    most = int((np.cumsum(variances) < 0.9 * variances.sum()).sum()) + 1
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    near = -np.sort(-cosines, axis=1)
    return (
        f"{len(vectors):,} of {vectors.shape[1]}: {counting:.0f} directions count (participation ratio),"
        f" {most} have 0.9 of the variance; cosines: the nearest {near[:, 0].mean():.2f}, the tenth"
        f" {near[:, 9].mean():.2f}, on average {cosines[cosines > -1].mean():.2f}"
    )


def main() -> None:
    photos = json.loads(_CAPTIONS.read_text("utf-8"))
    captions = [caption for photo in photos for caption in photo["captions"]]
    task = registry.load("label_embedding").tasks[EMBED_TEXT]
    parts = [task.predict(captions[n : n + task.batch]) for n in range(0, len(captions), task.batch)]
    real = np.array([vector for part in parts for vector in part])
    print("captions,", told(real))
    print("made,", told(Made().queries(len(real))))
    print("even,", told(Made(even=True).queries(len(real))))


if __name__ == "__main__":
    main()
