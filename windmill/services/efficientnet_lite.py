"""EfficientNet-Lite as an ONNX graph, made from weights that were trained elsewhere.

The architecture is EfficientNet's (Tan, Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with
ReLU6, as in TensorFlow's models/official/efficientnet/lite: the numbers of channels and the kernels' sizes
are those of the weights, so only the strides and repetitions stand here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from windmill.services.onnx_writer import Writer

_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))  # blocks in Lite0, stride of the first
_EPSILON = 1e-3  # of batch normalisation

INPUT, OUTPUT = "pixels", "probabilities"

Floats = npt.NDArray[np.float32]


def graph(state: Mapping[str, Floats], depth: float, size: int) -> onnx.ModelProto:
    """The network, n × 3 × size × size to n × classes.

    `state`: weights by their names in PyTorch; `depth`: the model's depth coefficient (1.0 is Lite0).
    """
    network = _Network(state)
    result = network.classes(_strides(depth))
    return network.writer.model(
        {INPUT: (TensorProto.FLOAT, ("n", 3, size, size))}, result, OUTPUT, ("n", "classes")
    )


def _strides(depth: float) -> list[int]:
    """Of each block. The first and the last stage are the same in all models."""
    strides: list[int] = []
    for stage, (repeats, stride) in enumerate(_STAGES):
        inner = 0 < stage < len(_STAGES) - 1
        strides += [stride, *[1] * ((math.ceil(depth * repeats) if inner else repeats) - 1)]
    return strides


class _Network:
    """Each method gives the name of its result."""

    def __init__(self, state: Mapping[str, Floats]) -> None:
        self._state = state
        self.writer = Writer()
        self._zero, self._six = self.writer.scalar(0), self.writer.scalar(6)

    def classes(self, strides: Sequence[int]) -> str:
        x = self._relu6(self._convolution(INPUT, "_conv_stem", "_bn0", stride=2))
        for number, stride in enumerate(strides):
            x = self._block(x, f"_blocks.{number}", stride)
        x = self._relu6(self._convolution(x, "_conv_head", "_bn1"))
        pooled = self.writer.op("Flatten", self.writer.op("GlobalAveragePool", x))
        weight, bias = (self._constant(self._state[f"_fc.{kind}"]) for kind in ("weight", "bias"))
        return self.writer.op("Softmax", self.writer.op("Gemm", pooled, weight, bias, transB=1), axis=1)

    def _block(self, x: str, name: str, stride: int) -> str:
        """An inverted residual (Sandler et al. 2018, arXiv:1801.04381)."""
        inner = x
        if f"{name}._expand_conv.weight" in self._state:
            inner = self._relu6(self._convolution(inner, f"{name}._expand_conv", f"{name}._bn0"))
        depthwise = self._convolution(inner, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride)
        output = self._convolution(self._relu6(depthwise), f"{name}._project_conv", f"{name}._bn2")
        if stride == 1 and self._entering(name) == len(self._state[f"{name}._project_conv.weight"]):
            return self.writer.op("Add", output, x)
        return output

    def _entering(self, name: str) -> int:
        """Channels of a block's input."""
        expansion = self._state.get(f"{name}._expand_conv.weight")
        return len(self._state[f"{name}._depthwise_conv.weight"]) if expansion is None else expansion.shape[1]

    def _convolution(self, x: str, kernel: str, norm: str, stride: int = 1) -> str:
        """A convolution with its batch normalisation folded into kernel and bias."""
        weight = self._state[f"{kernel}.weight"]
        mean, variance = self._state[f"{norm}.running_mean"], self._state[f"{norm}.running_var"]
        factor = self._state[f"{norm}.weight"] / np.sqrt(variance + _EPSILON)
        bias = self._state[f"{norm}.bias"] - mean * factor
        return self.writer.op(
            "Conv",
            x,
            self._constant(weight * factor[:, None, None, None]),
            self._constant(bias),
            kernel_shape=weight.shape[2:],
            strides=[stride, stride],
            group=len(weight) if weight.shape[1] == 1 else 1,
            auto_pad="SAME_UPPER",
        )

    def _relu6(self, x: str) -> str:
        return self.writer.op("Clip", x, self._zero, self._six)

    def _constant(self, values: npt.ArrayLike) -> str:
        return self.writer.constant(np.asarray(values, np.float32))
