"""Which stored embeddings are nearest to a query's: search by meaning over some thousands of images.

Embeddings are vectors of length 1, so that their product is the cosine of the angle between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Key = TypeVar("Key")
Floats = npt.NDArray[np.float32]


def nearest(
    query: Sequence[float], stored: Mapping[Key, Sequence[float]], most: int = 10
) -> list[tuple[Key, float]]:
    """The `most` keys whose embeddings are nearest, with their cosines, best first; ties in their order.

    Nothing stored, nothing found. Raises `ValueError` where a stored embedding has not the query's
    dimension: another model made it, and there is nothing to compare.
    """
    other = next((key for key, vector in stored.items() if len(vector) != len(query)), None)
    if other is not None:
        raise ValueError(f"{other}: its embedding has {len(stored[other])} numbers, the query's {len(query)}")
    if not stored:
        return []
    cosines = np.array(list(stored.values()), np.float32) @ np.array(query, np.float32)
    keys, order = list(stored), np.argsort(-cosines, kind="stable")[:most]
    return [(keys[n], float(cosines[n])) for n in order]


def mean(vectors: npt.ArrayLike, weights: Sequence[float] | None = None) -> Floats:
    """The (weighted) mean of embeddings (n × dimension), of length 1 again: of labels, or of captions.

    Raises `ValueError` for none, and for opposites that leave no direction.
    """
    rows = np.array(vectors, np.float32)
    shares = np.ones(len(rows), np.float32) if weights is None else np.array(weights, np.float32)
    total = shares @ rows if len(rows) else np.zeros(1, np.float32)
    length = float(np.linalg.norm(total))
    if length < 1e-9:
        raise ValueError("no embeddings, or such as cancel each other out: no direction is their mean")
    return np.asarray(total / length, np.float32)
