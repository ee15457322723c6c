"""Walks a TensorFlow.js graph from its outputs and writes an ONNX model (opset 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from windmill.services.tfjs.context import TYPES
from windmill.services.tfjs.graph import Array, Graph, Node, read
from windmill.services.tfjs.operators import FOLDS, OPERATORS

_OPSET, _IR_VERSION = 13, 8


def convert(
    path: Path, outputs: Sequence[str], *, cut: Mapping[str, Sequence[int]] | None = None
) -> onnx.ModelProto:
    """The ONNX model of the graph in `path` with these outputs.

    A node named in `cut` becomes a float32 input of the given shape, and what is before it is left out.
    Raises `NotImplementedError` that names the first operator it does not know.
    """
    return Converter(read(path)).model(outputs, cut or {})


class Converter:
    """What operators see: the tensors of their inputs, and a place for their own nodes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._done: dict[str, list[str]] = {}

    def model(self, outputs: Sequence[str], cut: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
        for name, shape in cut.items():
            self._done[name] = [self.add_input(name, TensorProto.FLOAT, shape)]
        results = []
        for reference in outputs:
            name = reference.replace(":", "_")
            self._nodes.append(helper.make_node("Identity", [self.tensor(reference)], [f"output/{name}"]))
            results.append(helper.make_empty_tensor_value_info(f"output/{name}"))
        used = {name for node in self._nodes for name in node.input}
        weights = [tensor for name, tensor in self._initializers.items() if name in used]
        graph = helper.make_graph(self._nodes, "tfjs", self._inputs, results, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR_VERSION
        return model

    # --- for operators -------------------------------------------------------------------------------

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Adds an ONNX node; gives the name of its first output."""
        return self.add_many(op, inputs, outputs, **attributes)[0]

    def add_many(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Adds an ONNX node; gives the names of all its outputs."""
        names = [f"{op}_{len(self._nodes)}_{n}" for n in range(outputs)]
        self._nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names

    def weight(self, values: Any, dtype: Any = None) -> str:
        """A constant tensor in the model."""
        name = f"weight_{len(self._initializers)}"
        self._initializers[name] = numpy_helper.from_array(np.array(values, dtype), name)
        return name

    def add_input(self, name: str, kind: int, shape: Sequence[int]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def tensor(self, reference: str) -> str:
        """The ONNX tensor of a reference; what it stands on is converted first, without recursion."""
        name, _, index = reference.partition(":")
        waiting = [name]
        while waiting:
            node = self._graph.nodes[waiting[-1]]
            needed = [ref.partition(":")[0] for ref in node.inputs] if node.name not in self._done else []
            needed = [other for other in needed if other not in self._done]
            if needed:
                waiting += needed
                continue
            waiting.pop()
            if node.name not in self._done:
                self._done[node.name] = self._operate(node)
        return self._done[name][int(index or 0)]

    def constant(self, reference: str) -> Array | None:
        """The value of a reference that can be computed now; None where it depends on the input."""
        node = self._graph.nodes[reference.partition(":")[0]]
        if node.op == "Const":
            return self._graph.constants[node.name]
        if node.op not in FOLDS:
            return None
        values = [self.constant(ref) for ref in node.inputs]
        known = [value for value in values if value is not None]
        return FOLDS[node.op](known) if len(known) == len(values) else None

    def known(self, reference: str) -> Array:
        """Like `constant`, where nothing else will do."""
        value = self.constant(reference)
        if value is None:
            raise NotImplementedError(f"{reference}: expected a constant")
        return value

    def _operate(self, node: Node) -> list[str]:
        if node.op == "Const":
            return [self.weight(self._graph.constants[node.name])]
        if node.op == "Placeholder":
            sizes = [int(dim.get("size", -1)) for dim in node.get("shape").get("dim", ())]
            return [self.add_input(node.name, TYPES[node.get("dtype")], [max(1, size) for size in sizes])]
        if node.op not in OPERATORS:
            raise NotImplementedError(f"TensorFlow.js operator {node.op} ({node.name})")
        made = OPERATORS[node.op](self, node)
        return made if isinstance(made, list) else [made]
