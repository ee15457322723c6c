"""ONNX graphs, written node by node by whoever knows a network's architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 20  # the first with Gelu
_IR = 10  # onnxruntime 1.20 reads it

Dimensions = Sequence[str | int]  # a word for what is open


class Writer:
    """Nodes and constants as they come; each method gives the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: npt.NDArray[Any]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def model(
        self, inputs: Mapping[str, tuple[int, Dimensions]], result: str, name: str, shape: Dimensions
    ) -> onnx.ModelProto:
        """The model that gives `result` under a name. `inputs`: element type and dimensions by name."""
        self._nodes.append(helper.make_node("Identity", [result], [name]))
        entries = [helper.make_tensor_value_info(one, kind, dims) for one, (kind, dims) in inputs.items()]
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self._nodes, "windmill", entries, [output], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        onnx.checker.check_model(model)
        return model
