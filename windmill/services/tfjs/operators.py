"""TensorFlow operators as ONNX nodes: one function each, and the table of them.

TensorFlow's images are NHWC, ONNX's NCHW: spatial operators stand between two transposes, which onnxruntime's
optimizer removes where they meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto

from windmill.services.tfjs.graph import Array, Node

TYPES = {
    "DT_FLOAT": TensorProto.FLOAT,
    "DT_INT32": TensorProto.INT32,
    "DT_INT64": TensorProto.INT64,
    "DT_BOOL": TensorProto.BOOL,
}
_FARTHEST = np.iinfo(np.int64).max


class Context(Protocol):
    """What an operator may ask of the converter; see `convert.Converter`."""

    def add(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str: ...
    def add_many(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]: ...
    def weight(self, values: Any, dtype: Any = None) -> str: ...
    def tensor(self, reference: str) -> str: ...
    def constant(self, reference: str) -> Array | None: ...
    def known(self, reference: str) -> Array: ...


Operator = Callable[[Context, Node], str | list[str]]


def _plain(onnx_op: str) -> Operator:
    """An operator with the same meaning and the same inputs."""

    def operate(context: Context, node: Node) -> str:
        return context.add(onnx_op, [context.tensor(ref) for ref in node.inputs])

    return operate


def _nchw(context: Context, tensor: str) -> str:
    return context.add("Transpose", [tensor], perm=[0, 3, 1, 2])


def _nhwc(context: Context, tensor: str) -> str:
    return context.add("Transpose", [tensor], perm=[0, 2, 3, 1])


def _integers(context: Context, reference: str) -> str:
    """A constant or computed tensor as int64, as ONNX wants shapes and axes."""
    value = context.constant(reference)
    if value is not None:
        return context.weight(np.atleast_1d(value), np.int64)
    return context.add("Cast", [context.tensor(reference)], to=TensorProto.INT64)


def _convolution(context: Context, node: Node) -> str:
    kernel, depthwise = context.known(node.inputs[1]), "Depthwise" in node.op
    height, width, channels, multiplier = kernel.shape
    if depthwise:
        kernel = kernel.reshape(height, width, channels * multiplier, 1).transpose(2, 3, 0, 1)
    else:
        kernel = kernel.transpose(3, 2, 0, 1)
    inputs = [_nchw(context, context.tensor(node.inputs[0])), context.weight(kernel)]
    fused = list(node.get("fused_ops", ()))
    if "BiasAdd" in fused:
        inputs.append(context.weight(context.known(node.inputs[2]).reshape(-1)))
        fused.remove("BiasAdd")
    output = context.add(
        "Conv",
        inputs,
        kernel_shape=[height, width],
        strides=node.get("strides")[1:3],
        dilations=(node.get("dilations") or [1, 1, 1, 1])[1:3],
        group=channels if depthwise else 1,
        **_padding(node),
    )
    for activation in fused:
        output = _activation(context, activation, output)
    return _nhwc(context, output)


def _padding(node: Node) -> dict[str, Any]:
    padding = node.get("padding")
    if padding == "EXPLICIT":
        sides = node.get("explicit_paddings")
        return {"pads": [sides[2], sides[4], sides[3], sides[5]]}
    return {"auto_pad": "SAME_UPPER" if padding == "SAME" else "VALID"}


def _activation(context: Context, name: str, tensor: str) -> str:
    if name == "Relu6":
        return context.add("Clip", [tensor, context.weight(0, np.float32), context.weight(6, np.float32)])
    if name in ("Relu", "Sigmoid", "Elu"):
        return context.add(name, [tensor])
    raise NotImplementedError(f"TensorFlow.js fused activation {name}")


def _relu6(context: Context, node: Node) -> str:
    return _activation(context, "Relu6", context.tensor(node.inputs[0]))


def _leaky_relu(context: Context, node: Node) -> str:
    return context.add("LeakyRelu", [context.tensor(node.inputs[0])], alpha=node.get("alpha", 0.2))


def _max_pool(context: Context, node: Node) -> str:
    pooled = context.add(
        "MaxPool",
        [_nchw(context, context.tensor(node.inputs[0]))],
        kernel_shape=node.get("ksize")[1:3],
        strides=node.get("strides")[1:3],
        **_padding(node),
    )
    return _nhwc(context, pooled)


def _batch_norm(context: Context, node: Node) -> str:
    scale, offset, mean, variance = (context.known(ref) for ref in node.inputs[1:5])
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-3))
    scaled = context.add("Mul", [context.tensor(node.inputs[0]), context.weight(factor, np.float32)])
    return context.add("Add", [scaled, context.weight(offset - mean * factor, np.float32)])


def _resize_bilinear(context: Context, node: Node) -> str:
    picture = _nchw(context, context.tensor(node.inputs[0]))
    batch_and_channels = context.add(
        "Slice",
        [context.add("Shape", [picture]), context.weight([0], np.int64), context.weight([2], np.int64)],
    )
    size = context.add("Concat", [batch_and_channels, _integers(context, node.inputs[1])], axis=0)
    corners, centers = node.get("align_corners"), node.get("half_pixel_centers")
    mode = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    resized = context.add(
        "Resize", [picture, "", "", size], mode="linear", coordinate_transformation_mode=mode
    )
    return _nhwc(context, resized)


def _mean(context: Context, node: Node) -> str:
    axes = [int(axis) for axis in np.atleast_1d(context.known(node.inputs[1]))]
    keep = int(bool(node.get("keep_dims", False)))
    return context.add("ReduceMean", [context.tensor(node.inputs[0])], axes=axes, keepdims=keep)


def _concat(context: Context, node: Node) -> str:
    *parts, axis = node.inputs
    return context.add("Concat", [context.tensor(ref) for ref in parts], axis=int(context.known(axis)))


def _reshape(context: Context, node: Node) -> str:
    return context.add("Reshape", [context.tensor(node.inputs[0]), _integers(context, node.inputs[1])])


def _tile(context: Context, node: Node) -> str:
    return context.add("Tile", [context.tensor(node.inputs[0]), _integers(context, node.inputs[1])])


def _transpose(context: Context, node: Node) -> str:
    order = [int(axis) for axis in context.known(node.inputs[1])]
    return context.add("Transpose", [context.tensor(node.inputs[0])], perm=order)


def _cast(context: Context, node: Node) -> str:
    return context.add("Cast", [context.tensor(node.inputs[0])], to=TYPES[node.get("DstT")])


def _shape(context: Context, node: Node) -> str:
    shape = context.add("Shape", [context.tensor(node.inputs[0])])
    return context.add("Cast", [shape], to=TensorProto.INT32)


def _top_k(context: Context, node: Node) -> list[str]:
    inputs = [context.tensor(node.inputs[0]), _integers(context, node.inputs[1])]
    values, indices = context.add_many("TopK", inputs, 2, axis=-1, largest=1, sorted=1)
    return [values, context.add("Cast", [indices], to=TensorProto.INT32)]


def _gather(context: Context, node: Node) -> str:
    values, indices, axis = node.inputs
    return context.add(
        "Gather", [context.tensor(values), context.tensor(indices)], axis=int(context.known(axis))
    )


def _expand_dims(context: Context, node: Node) -> str:
    return context.add("Unsqueeze", [context.tensor(node.inputs[0]), _integers(context, node.inputs[1])])


def _squeeze(context: Context, node: Node) -> str:
    axes = node.get("squeeze_dims")
    return context.add(
        "Squeeze", [context.tensor(node.inputs[0]), *([context.weight(axes, np.int64)] if axes else ())]
    )


def _pad(context: Context, node: Node) -> str:
    sides = context.known(node.inputs[1]).T.reshape(-1)
    value = context.known(node.inputs[2]) if len(node.inputs) > 2 else 0.0
    inputs = [context.weight(sides, np.int64), context.weight(np.reshape(value, ()), np.float32)]
    return context.add("Pad", [context.tensor(node.inputs[0]), *inputs], mode="constant")


def _slice(context: Context, node: Node) -> str:
    begin, size = (context.known(ref).astype(np.int64) for ref in node.inputs[1:3])
    end = np.where(size < 0, _FARTHEST, begin + size)
    bounds = [context.weight(values, np.int64) for values in (begin, end, np.arange(len(begin)))]
    return context.add("Slice", [context.tensor(node.inputs[0]), *bounds])


def _strided_slice(context: Context, node: Node) -> str:
    begin, end, step = (context.known(ref).astype(np.int64) for ref in node.inputs[1:4])
    if node.get("ellipsis_mask", 0) or node.get("new_axis_mask", 0):
        raise NotImplementedError(f"StridedSlice with an ellipsis or a new axis ({node.name})")
    first, last = begin.copy(), end.copy()
    shrunk = [axis for axis in range(len(begin)) if node.get("shrink_axis_mask", 0) >> axis & 1]
    for axis in range(len(begin)):
        if node.get("begin_mask", 0) >> axis & 1:
            first[axis] = 0 if step[axis] > 0 else _FARTHEST
        if node.get("end_mask", 0) >> axis & 1:
            last[axis] = _FARTHEST if step[axis] > 0 else -_FARTHEST
        if axis in shrunk:
            last[axis] = first[axis] + 1 if first[axis] != -1 else _FARTHEST
    bounds = [context.weight(values, np.int64) for values in (first, last, np.arange(len(begin)), step)]
    part = context.add("Slice", [context.tensor(node.inputs[0]), *bounds])
    return context.add("Squeeze", [part, context.weight(shrunk, np.int64)]) if shrunk else part


def _split_v(context: Context, node: Node) -> list[str]:
    sizes, axis = context.known(node.inputs[1]), int(context.known(node.inputs[2]))
    inputs = [context.tensor(node.inputs[0]), context.weight(sizes, np.int64)]
    return context.add_many("Split", inputs, len(sizes), axis=axis)


def _unpack(context: Context, node: Node) -> list[str]:
    count, axis = node.get("num"), node.get("axis", 0)
    whole = context.tensor(node.inputs[0])
    parts = context.add_many("Split", [whole], count, axis=axis) if count > 1 else [whole]
    return [context.add("Squeeze", [part, context.weight([axis], np.int64)]) for part in parts]


def _pack(context: Context, node: Node) -> str:
    axis = node.get("axis", 0)
    where = context.weight([axis], np.int64)
    parts = [context.add("Unsqueeze", [context.tensor(ref), where]) for ref in node.inputs]
    return context.add("Concat", parts, axis=axis)


def _sparse_to_dense(context: Context, node: Node) -> str:
    return context.weight(_dense([context.known(ref) for ref in node.inputs]))


def _dense(values: Sequence[Array]) -> Array:
    indices, shape, given, default = values
    dense = np.full([int(size) for size in shape], default, dtype=given.dtype)
    places = indices if indices.ndim == 2 else indices.reshape(-1, 1)
    for place, value in zip(places, np.broadcast_to(given.reshape(-1), (len(places),)), strict=True):
        dense[tuple(place)] = value
    return dense


# Operators whose result is computed at once where all their inputs are constants.
FOLDS: Mapping[str, Callable[[Sequence[Array]], Array]] = {
    "Identity": lambda values: values[0],
    "Add": lambda values: values[0] + values[1],
    "AddV2": lambda values: values[0] + values[1],
    "Mul": lambda values: values[0] * values[1],
    "Transpose": lambda values: values[0].transpose([int(axis) for axis in values[1]]),
    "Reshape": lambda values: values[0].reshape([int(size) for size in values[1]]),
    "ConcatV2": lambda values: np.concatenate(values[:-1], int(values[-1])),
    "SparseToDense": _dense,
}

OPERATORS: Mapping[str, Operator] = {
    **{name: _plain(name) for name in ("Identity", "Mul", "Add", "Sub", "Relu", "Sigmoid", "Equal", "Exp")},
    "AddV2": _plain("Add"),
    "AddN": _plain("Sum"),
    "BiasAdd": _plain("Add"),
    "FloorDiv": _plain("Div"),  # of indices, which are whole and not negative
    "FloorMod": _plain("Mod"),
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "Cast": _cast,
    "ConcatV2": _concat,
    "ExpandDims": _expand_dims,
    "FusedBatchNorm": _batch_norm,
    "GatherV2": _gather,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "Mean": _mean,
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad,
    "Relu6": _relu6,
    "Reshape": _reshape,
    "ResizeBilinear": _resize_bilinear,
    "Shape": _shape,
    "Slice": _slice,
    "SparseToDense": _sparse_to_dense,
    "SplitV": _split_v,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "TopKV2": _top_k,
    "Transpose": _transpose,
    "Unpack": _unpack,
}
