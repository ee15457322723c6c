"""Embeddings as replies hold them, and the texts' side of models that have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from windmill.services.base import Reply, Task

Floats = npt.NDArray[np.float32]


class TextEncoder(Protocol):
    """What makes vectors of texts."""

    def texts(self, texts: Sequence[str], /) -> Floats:
        """A vector of length 1 for each text (n × dimension)."""


def embedded(vector: Floats) -> Reply:
    """A reply that holds an embedding."""
    return {"embedding": [round(float(value), 6) for value in vector], "dimension": len(vector)}


class EmbedText(Task[str, str, Floats]):
    """The text's vector."""

    batch = 32

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def preprocess(self, asked: str) -> str:
        return asked

    def predict(self, inputs: Sequence[str]) -> Sequence[Floats]:
        return list(self._encoder.texts(inputs))

    def postprocess(self, given: str, output: Floats) -> Reply:  # noqa: ARG002 -- of a task
        return embedded(output)
