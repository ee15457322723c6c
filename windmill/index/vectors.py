"""Embeddings of images with their ids: what stores take and give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from windmill.errors import OtherEmbedder, StoreError

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """What made the vectors of an index; those of another are nowhere near them.

    `service` is the reference service that can be asked (`clip`, `label_embedding`, …), `name` and `version`
    are its `model_info`. All vectors have `dimension` numbers and length 1: their product is their cosine.
    """

    service: str
    name: str
    version: str
    dimension: int

    def __str__(self) -> str:
        return f"{self.service} ({self.name} {self.version}, {self.dimension} dimensions)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vectors:
    """Images with their embeddings, in the order of `ids` (n, distinct): `embeddings` is n × dimension."""

    ids: Ids
    paths: Sequence[str]
    embeddings: Floats

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An image that was found; `score` is the cosine between its vector and the query's, −1 to 1."""

    image_id: int
    path: str
    score: float


def accepted(vectors: Vectors, embedder: Embedder) -> Vectors:
    """The same, if a store may take them. Raises `OtherEmbedder`, and `StoreError` for a path that is not
    text (a file's name need not be)."""
    checked(vectors.embeddings, embedder)
    try:
        "".join(vectors.paths).encode()
    except UnicodeEncodeError as exc:
        raise StoreError(f"a path that is not text, in UTF-8: {exc.object[: exc.end][-80:]!r}") from exc
    return vectors


def checked(embeddings: Floats, embedder: Embedder) -> Floats:
    """The same (n × dimension), if it may be an embedder's. Raises `OtherEmbedder`."""
    if embeddings.ndim != 2 or embeddings.shape[1] != embedder.dimension:
        raise OtherEmbedder(f"vectors of {embeddings.shape[-1]} numbers; the index has those of {embedder}")
    if not np.isfinite(embeddings).all():
        raise OtherEmbedder("a vector with numbers that are none (NaN or infinite)")
    return embeddings


def best(ids: Ids, paths: Sequence[str], scores: Floats, most: int) -> list[Hit]:
    """The hits of the highest `scores` (n, a product for each of `ids`), best first; see `ranked`."""
    return [
        Hit(image_id=int(ids[n]), path=paths[n], score=min(1.0, round(float(scores[n]), 6)))
        for n in ranked(ids, scores, most).tolist()
    ]


def ranked(ids: Ids, scores: Floats, most: int) -> npt.NDArray[np.intp]:
    """The places of the `most` highest `scores`, best first, ties by id.

    Scores count to 6 decimals: beyond them, float32 tells in which order a product was summed. So every store
    says the same of the same vectors.
    """
    kept = np.round(scores.astype(np.float64), 6)
    places = np.arange(len(kept))
    if most < len(kept):  # to sort all would take longer than to compare all
        places = np.flatnonzero(kept >= np.partition(kept, -most)[-most])
    return places[np.lexsort((ids[places], -kept[places]))][:most]
