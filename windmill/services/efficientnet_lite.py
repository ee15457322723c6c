"""EfficientNet-Lite as an ONNX graph, made from weights that were trained elsewhere.

The architecture is EfficientNet's (Tan, Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with
ReLU6, as in TensorFlow's models/official/efficientnet/lite: the numbers of channels and the kernels' sizes
are those of the weights, so only the strides and repetitions stand here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))  # blocks in Lite0, stride of the first
_EPSILON = 1e-3  # of batch normalisation
_OPSET, _IR_VERSION = 13, 8

INPUT, OUTPUT = "pixels", "probabilities"

Floats = npt.NDArray[np.float32]


def graph(state: Mapping[str, Floats], depth: float, size: int) -> onnx.ModelProto:
    """The network, n × 3 × size × size to n × classes.

    `state`: weights by their names in PyTorch; `depth`: the model's depth coefficient (1.0 is Lite0).
    """
    return _Writer(state).network(_strides(depth), size)


def _strides(depth: float) -> list[int]:
    """Of each block. The first and the last stage are the same in all models."""
    strides: list[int] = []
    for stage, (repeats, stride) in enumerate(_STAGES):
        inner = 0 < stage < len(_STAGES) - 1
        strides += [stride, *[1] * ((math.ceil(depth * repeats) if inner else repeats) - 1)]
    return strides


@dataclass(slots=True)
class _Writer:
    """Nodes and constants of the graph so far."""

    state: Mapping[str, Floats]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def network(self, strides: Sequence[int], size: int) -> onnx.ModelProto:
        self._constant("zero", np.float32(0))
        self._constant("six", np.float32(6))
        x = self._relu6(self._convolution(INPUT, "_conv_stem", "_bn0", stride=2))
        for number, stride in enumerate(strides):
            x = self._block(x, f"_blocks.{number}", stride)
        self._classes(self._relu6(self._convolution(x, "_conv_head", "_bn1")))
        entry = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", 3, size, size])
        result = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", "classes"])
        made = helper.make_graph(self.nodes, "efficientnet-lite", [entry], [result], self.constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR_VERSION
        return model

    def _block(self, x: str, name: str, stride: int) -> str:
        """An inverted residual (Sandler et al. 2018, arXiv:1801.04381)."""
        inner = x
        if f"{name}._expand_conv.weight" in self.state:
            inner = self._relu6(self._convolution(inner, f"{name}._expand_conv", f"{name}._bn0"))
        depthwise = self._convolution(inner, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        output = self._convolution(self._relu6(depthwise), f"{name}._project_conv", f"{name}._bn2")
        if stride == 1 and self._entering(name) == len(self.state[f"{name}._project_conv.weight"]):
            return self._node("Add", [output, x])
        return output

    def _entering(self, name: str) -> int:
        """Channels of a block's input."""
        expansion = self.state.get(f"{name}._expand_conv.weight")
        return len(self.state[f"{name}._depthwise_conv.weight"]) if expansion is None else expansion.shape[1]

    def _convolution(self, x: str, kernel: str, norm: str, stride: int = 1) -> str:
        """A convolution with its batch normalisation folded into kernel and bias."""
        weight = self.state[f"{kernel}.weight"]
        mean, variance = self.state[f"{norm}.running_mean"], self.state[f"{norm}.running_var"]
        factor = self.state[f"{norm}.weight"] / np.sqrt(variance + _EPSILON)
        bias = self.state[f"{norm}.bias"] - mean * factor
        inputs = [
            x,
            self._constant(f"{kernel}.weight", weight * factor[:, None, None, None]),
            self._constant(f"{kernel}.bias", bias),
        ]
        return self._node(
            "Conv",
            inputs,
            kernel_shape=weight.shape[2:],
            strides=[stride, stride],
            group=len(weight) if weight.shape[1] == 1 else 1,
            auto_pad="SAME_UPPER",
        )

    def _classes(self, x: str) -> None:
        pooled = self._node("Flatten", [self._node("GlobalAveragePool", [x])])
        weight = self._constant("_fc.weight", self.state["_fc.weight"])
        bias = self._constant("_fc.bias", self.state["_fc.bias"])
        logits = self._node("Gemm", [pooled, weight, bias], transB=1)
        self.nodes.append(helper.make_node("Softmax", [logits], [OUTPUT], axis=1))

    def _relu6(self, x: str) -> str:
        return self._node("Clip", [x, "zero", "six"])

    def _constant(self, name: str, values: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def _node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name
