"""TensorFlow operators as ONNX nodes: one function each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import TensorProto

from windmill.services.tfjs.context import TYPES, Context, Operator, integers
from windmill.services.tfjs.graph import Array, Node
from windmill.services.tfjs.spatial import SPATIAL

_FARTHEST = np.iinfo(np.int64).max


def _plain(onnx_op: str) -> Operator:
    """An operator with the same meaning and the same inputs."""

    def operate(context: Context, node: Node) -> str:
        return context.add(onnx_op, [context.tensor(ref) for ref in node.inputs])

    return operate


def _mean(context: Context, node: Node) -> str:
    axes = [int(axis) for axis in np.atleast_1d(context.known(node.inputs[1]))]
    keep = int(bool(node.get("keep_dims", False)))
    return context.add("ReduceMean", [context.tensor(node.inputs[0])], axes=axes, keepdims=keep)


def _concat(context: Context, node: Node) -> str:
    *parts, axis = node.inputs
    return context.add("Concat", [context.tensor(ref) for ref in parts], axis=int(context.known(axis)))


def _reshape(context: Context, node: Node) -> str:
    return context.add("Reshape", [context.tensor(node.inputs[0]), integers(context, node.inputs[1])])


def _tile(context: Context, node: Node) -> str:
    return context.add("Tile", [context.tensor(node.inputs[0]), integers(context, node.inputs[1])])


def _transpose(context: Context, node: Node) -> str:
    order = [int(axis) for axis in context.known(node.inputs[1])]
    return context.add("Transpose", [context.tensor(node.inputs[0])], perm=order)


def _cast(context: Context, node: Node) -> str:
    return context.add("Cast", [context.tensor(node.inputs[0])], to=TYPES[node.get("DstT")])


def _shape(context: Context, node: Node) -> str:
    shape = context.add("Shape", [context.tensor(node.inputs[0])])
    return context.add("Cast", [shape], to=TensorProto.INT32)


def _top_k(context: Context, node: Node) -> list[str]:
    inputs = [context.tensor(node.inputs[0]), integers(context, node.inputs[1])]
    values, indices = context.add_many("TopK", inputs, 2, axis=-1, largest=1, sorted=1)
    return [values, context.add("Cast", [indices], to=TensorProto.INT32)]


def _arg_max(context: Context, node: Node) -> str:
    axis = int(context.known(node.inputs[1]))
    found = context.add("ArgMax", [context.tensor(node.inputs[0])], axis=axis, keepdims=0)
    return context.add("Cast", [found], to=TYPES[node.get("output_type", "DT_INT64")])


def _squared_difference(context: Context, node: Node) -> str:
    difference = context.add("Sub", [context.tensor(ref) for ref in node.inputs])
    return context.add("Mul", [difference, difference])


def _gather_nd(context: Context, node: Node) -> str:
    values, indices = node.inputs
    return context.add("GatherND", [context.tensor(values), integers(context, indices)])


def _gather(context: Context, node: Node) -> str:
    values, indices, axis = node.inputs
    return context.add(
        "Gather", [context.tensor(values), context.tensor(indices)], axis=int(context.known(axis))
    )


def _expand_dims(context: Context, node: Node) -> str:
    return context.add("Unsqueeze", [context.tensor(node.inputs[0]), integers(context, node.inputs[1])])


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

_SAME = ("Identity", "Mul", "Add", "Sub", "Relu", "Sigmoid", "Equal", "Exp", "Sqrt")

OPERATORS: Mapping[str, Operator] = {
    **SPATIAL,
    **{name: _plain(name) for name in _SAME},
    "AddV2": _plain("Add"),
    "AddN": _plain("Sum"),
    "ArgMax": _arg_max,
    "BiasAdd": _plain("Add"),
    "FloorDiv": _plain("Div"),  # of indices, which are whole and not negative
    "FloorMod": _plain("Mod"),
    "Cast": _cast,
    "ConcatV2": _concat,
    "ExpandDims": _expand_dims,
    "GatherNd": _gather_nd,
    "GatherV2": _gather,
    "Mean": _mean,
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad,
    "RealDiv": _plain("Div"),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "SparseToDense": _sparse_to_dense,
    "SplitV": _split_v,
    "SquaredDifference": _squared_difference,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "TopKV2": _top_k,
    "Transpose": _transpose,
    "Unpack": _unpack,
}
