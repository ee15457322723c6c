"""A TensorFlow.js graph model: `model.json` and the weight files beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: `inputs` are references `name`, `name:2`, without control inputs."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute's value: a number, a text, or a list of one of them."""
        return _plain(self.attributes[key]) if key in self.attributes else default


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and constant tensors by name."""

    nodes: Mapping[str, Node]
    constants: Mapping[str, Array]


def read(path: Path) -> Graph:
    """The graph in the `model.json` at `path`."""
    model = json.loads(path.read_text("utf-8"))
    nodes = [
        Node(
            name=raw["name"],
            op=raw["op"],
            inputs=tuple(ref for ref in raw.get("input", ()) if not ref.startswith("^")),
            attributes=raw.get("attr", {}),
        )
        for raw in model["modelTopology"]["node"]
    ]
    constants: dict[str, Array] = {}
    for group in model["weightsManifest"]:
        constants |= _tensors(
            group["weights"], b"".join((path.parent / p).read_bytes() for p in group["paths"])
        )
    return Graph({node.name: node for node in nodes}, constants)


def _tensors(weights: list[Any], data: bytes) -> dict[str, Array]:
    tensors, offset = {}, 0
    for weight in weights:
        quantization = weight.get("quantization")
        stored = np.dtype(quantization["dtype"] if quantization else weight["dtype"])
        count = int(np.prod(weight["shape"], dtype=np.int64))
        values: Array = np.frombuffer(data, stored, count, offset)
        offset += count * stored.itemsize
        tensors[weight["name"]] = _dequantized(values, weight, quantization).reshape(weight["shape"])
    return tensors


def _dequantized(values: Array, weight: Any, quantization: Any) -> Array:
    if quantization is None:
        return values
    if quantization["dtype"] == "float16":
        return values.astype(np.float32)
    scaled: Array = values.astype(np.float32) * quantization["scale"] + quantization["min"]
    return scaled.astype(weight["dtype"])


def _plain(attribute: Any) -> Any:
    """A protobuf attribute in its JSON form as a Python value."""
    if "list" in attribute:
        filled = ((kind, values) for kind, values in attribute["list"].items() if values)
        return next(([_scalar(kind, value) for value in values] for kind, values in filled), [])
    kind, value = next(iter(attribute.items()))
    return _scalar(kind, value)


def _scalar(kind: str, value: Any) -> Any:
    if kind == "s":  # old exports hold a list of bytes, newer ones base64
        return bytes(value).decode() if isinstance(value, list) else base64.b64decode(value).decode()
    readers = {"i": int, "f": float, "b": bool}
    return readers[kind](value) if kind in readers else value
