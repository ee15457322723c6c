"""Operators on images.

TensorFlow's images are NHWC, ONNX's NCHW: these stand between two transposes, which onnxruntime's optimizer
removes where they meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from windmill.services.tfjs.context import Context, Operator, integers
from windmill.services.tfjs.graph import Node


def _nchw(context: Context, tensor: str) -> str:
    return context.add("Transpose", [tensor], perm=[0, 3, 1, 2])


def _nhwc(context: Context, tensor: str) -> str:
    return context.add("Transpose", [tensor], perm=[0, 2, 3, 1])


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
    size = context.add("Concat", [batch_and_channels, integers(context, node.inputs[1])], axis=0)
    corners, centers = node.get("align_corners"), node.get("half_pixel_centers")
    mode = "align_corners" if corners else "half_pixel" if centers else "asymmetric"
    resized = context.add(
        "Resize", [picture, "", "", size], mode="linear", coordinate_transformation_mode=mode
    )
    return _nhwc(context, resized)


def _depth_to_space(context: Context, node: Node) -> str:
    picture = _nchw(context, context.tensor(node.inputs[0]))
    return _nhwc(
        context, context.add("DepthToSpace", [picture], blocksize=node.get("block_size"), mode="DCR")
    )


SPATIAL: Mapping[str, Operator] = {
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthToSpace": _depth_to_space,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "FusedBatchNorm": _batch_norm,
    "LeakyRelu": _leaky_relu,
    "MaxPool": _max_pool,
    "Relu6": _relu6,
    "ResizeBilinear": _resize_bilinear,
}
