"""The cut-off: the least score that fits a query, so that "a submarine" over photos of cats finds nothing.

What a cosine means differs from model to model, and from one kind of query to another. Of words with the
vectors of `label_embedding`, it differs from one query to the next, too: a short text is nearer to everything
than a long one. So there, the cut-off rises with how near the query lies to words that have nothing in common
(docs/adr/0037). Where nobody measured anything, everything fits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from windmill import vocabularies
from windmill.index.searching import Query, QueryEmbedder
from windmill.index.vectors import Embedder, Floats

EVERYTHING = -1.0  # no cosine is less
_STRIDE = 50  # every so many of ImageNet's words make up what words have in common


class Kind(Enum):
    """What a query is made of."""

    WORDS = "words"
    IMAGE = "an image"
    BOTH = "words and an image"


@dataclass(frozen=True, slots=True)
class Rule:
    """`least`, and `slope` times the query's mean cosine with words that have nothing in common."""

    least: float
    slope: float = 0.0


# By service and dimension, which tell one CLIP from another:
#  label_embedding  `windmill eval search` on 120 photos (docs/search.md, "How good it is"). Words: Youden's J
#                   is largest; images and both: nine of ten fitting queries keep their best hit.
#  clip, 512        OpenAI's ViT-B/32 and B/16; not measured here. LAION-400M's makers (arXiv:2111.02114) saw
#                   by eye that an image and its text fit from 0.28 to 0.3 on; a few words score less.
#  face_embedding   SFace's threshold for one person, on LFW, by those who publish it (OpenCV's
#                   FaceRecognizerSF).
RULES: Mapping[tuple[str, int], Mapping[Kind, Rule]] = {
    ("label_embedding", 384): {
        Kind.WORDS: Rule(0.16, 2.0),
        Kind.IMAGE: Rule(0.82),
        Kind.BOTH: Rule(0.70),
    },
    ("clip", 512): {Kind.WORDS: Rule(0.22)},
    ("face_embedding", 128): {Kind.IMAGE: Rule(0.363)},
}


class Cutoffs:
    """The cut-off of each query to an index of `embedder`; `asked` gives its model. Thread-safe."""

    def __init__(self, embedder: Embedder, asked: Callable[[], QueryEmbedder]) -> None:
        self._rules = RULES.get((embedder.service, embedder.dimension), {})
        self._asked = asked
        self._lock = threading.Lock()
        self._common: Floats | None = None

    def __call__(self, query: Query, vector: Floats) -> float:
        """The least score that fits a query whose vector this is (dimension)."""
        rule = self._rules.get(kind(query), Rule(EVERYTHING))
        return rule.least + (rule.slope * float(vector @ self._shared()) if rule.slope else 0.0)

    def _shared(self) -> Floats:
        with self._lock:
            if self._common is None:
                self._common = common(self._asked())
            return self._common


def common(model: QueryEmbedder) -> Floats:
    """The mean of the vectors of twenty words of all sorts (dimension): what every text is near to."""
    words = vocabularies.names("imagenet")[::_STRIDE]
    mean: Floats = np.mean([model.text(word) for word in words], axis=0, dtype=np.float32)
    return mean


def kind(query: Query) -> Kind:
    """What a query is made of; one `like` an image of the index is of an image."""
    if query.text.strip():
        return Kind.BOTH if query.image else Kind.WORDS
    return Kind.IMAGE
