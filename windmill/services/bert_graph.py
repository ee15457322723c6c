"""A BERT that embeds sentences (Devlin et al. 2018, arXiv:1810.04805; the mean over tokens as in Reimers and
Gurevych 2019, arXiv:1908.10084) as an ONNX graph, from weights in safetensors: it runs without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from windmill.services.onnx_writer import Writer

INPUTS = ("tokens", "mask")
OUTPUT = "embeddings"

Tensors = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the weights' `config.json` says."""

    layers: int
    heads: int
    width: int
    epsilon: float


def build(tensors: Tensors, shape: Shape) -> onnx.ModelProto:
    """`tokens` and `mask` (texts × length, int64; 1 for a token, 0 for what fills up) → `embeddings`
    (texts × width, each of length 1)."""
    graph = _Graph(tensors, shape)
    inputs = dict.fromkeys(INPUTS, (TensorProto.INT64, ("texts", "length")))
    return graph.writer.model(inputs, graph.encoder(), OUTPUT, ("texts", shape.width))


class _Graph:
    """Each method gives the name of its result."""

    def __init__(self, tensors: Tensors, shape: Shape) -> None:
        self._tensors, self._shape = tensors, shape
        self.writer = Writer()
        self._op, self._constant = self.writer.op, self.writer.constant
        self._ints, self._scalar = self.writer.ints, self.writer.scalar

    def encoder(self) -> str:
        mask = self._op("Cast", INPUTS[1], to=TensorProto.FLOAT)
        hidden, unseen = self._embedded(), self._unseen(mask)
        for number in range(self._shape.layers):
            hidden = self._layer(hidden, unseen, f"encoder.layer.{number}")
        return self._mean(hidden, mask)

    def _embedded(self) -> str:
        words = self._op("Gather", self._weight("embeddings.word_embeddings.weight"), INPUTS[0], axis=0)
        length = self._op("Shape", INPUTS[0], start=1, end=2)
        places = self._weight("embeddings.position_embeddings.weight")
        used = self._op("Slice", places, self._ints(0), length, self._ints(0))
        kind = self._constant(self._tensors["embeddings.token_type_embeddings.weight"][0])
        return self._norm(self._op("Add", words, self._op("Add", used, kind)), "embeddings.LayerNorm")

    def _unseen(self, mask: str) -> str:
        """What is added to attention, texts × 1 × 1 × length: 0 for tokens, hugely negative beyond them."""
        beyond = self._op("Mul", self._op("Sub", mask, self._scalar(1)), self._scalar(1e9))
        return self._op("Unsqueeze", beyond, self._ints(1, 2))

    def _layer(self, hidden: str, unseen: str, name: str) -> str:
        seen = self._linear(self._attention(hidden, unseen, name), f"{name}.attention.output.dense")
        hidden = self._norm(self._op("Add", hidden, seen), f"{name}.attention.output.LayerNorm")
        thought = self._op("Gelu", self._linear(hidden, f"{name}.intermediate.dense"))
        told = self._linear(thought, f"{name}.output.dense")
        return self._norm(self._op("Add", hidden, told), f"{name}.output.LayerNorm")

    def _attention(self, hidden: str, unseen: str, name: str) -> str:
        query, value = (self._heads(hidden, f"{name}.attention.self.{kind}") for kind in ("query", "value"))
        key = self._heads(hidden, f"{name}.attention.self.key", (0, 2, 3, 1))
        scale = self._scalar((self._shape.width // self._shape.heads) ** -0.5)
        scores = self._op("Add", self._op("Mul", self._op("MatMul", query, key), scale), unseen)
        mixed = self._op("MatMul", self._op("Softmax", scores, axis=-1), value)
        back = self._op("Transpose", mixed, perm=(0, 2, 1, 3))
        return self._op("Reshape", back, self._ints(0, 0, self._shape.width))

    def _heads(self, hidden: str, name: str, order: Sequence[int] = (0, 2, 1, 3)) -> str:
        """texts × heads × length × width of a head (in another order for keys)."""
        parts = self._ints(0, 0, self._shape.heads, self._shape.width // self._shape.heads)
        return self._op("Transpose", self._op("Reshape", self._linear(hidden, name), parts), perm=order)

    def _mean(self, hidden: str, mask: str) -> str:
        """The mean over tokens, divided by its length: their number does not matter, so it is a sum."""
        tokens = self._op("Mul", hidden, self._op("Unsqueeze", mask, self._ints(2)))
        total = self._op("ReduceSum", tokens, self._ints(1), keepdims=0)
        length = self._op("ReduceL2", total, self._ints(1), keepdims=1)
        return self._op("Div", total, length)

    def _linear(self, given: str, name: str) -> str:
        turned = self._constant(np.ascontiguousarray(self._tensors[f"{name}.weight"].T))
        return self._op("Add", self._op("MatMul", given, turned), self._weight(f"{name}.bias"))

    def _norm(self, given: str, name: str) -> str:
        scale, shift = (self._weight(f"{name}.{kind}") for kind in ("weight", "bias"))
        return self._op("LayerNormalization", given, scale, shift, axis=-1, epsilon=self._shape.epsilon)

    def _weight(self, name: str) -> str:
        return self._constant(self._tensors[name])
