"""The converter: a graph made here, run by onnxruntime, compared with numpy."""

import base64
import json

import numpy as np
import onnxruntime
import pytest

from windmill.services.tfjs import convert, graph
from windmill.services.tfjs.operators import OPERATORS

RANDOM = np.random.default_rng(7)
KERNEL = RANDOM.normal(size=(3, 3, 2, 4)).astype(np.float32)
BIAS = RANDOM.normal(size=4).astype(np.float32)


def node(name, op, *inputs, **attributes):
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def model(folder, nodes, tensors):
    weights = [{"name": n, "shape": list(t.shape), "dtype": t.dtype.name} for n, t in tensors.items()]
    (folder / "w.bin").write_bytes(b"".join(t.tobytes() for t in tensors.values()))
    constants = [node(name, "Const") for name in tensors]
    shape = {"shape": {"dim": [{"size": "-1"}, {"size": "8"}, {"size": "8"}, {"size": "2"}]}}
    entry = node("x", "Placeholder", dtype={"type": "DT_FLOAT"}, shape=shape)
    document = {
        "modelTopology": {"node": [entry, *constants, *nodes]},
        "weightsManifest": [{"paths": ["w.bin"], "weights": weights}],
    }
    path = folder / "model.json"
    path.write_text(json.dumps(document), "utf-8")
    return path


def run(path, output, picture, cut=None):
    session = onnxruntime.InferenceSession(
        convert(path, [output], cut=cut).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: picture})[0]


def ints(*values):
    return {"list": {"i": [str(value) for value in values]}}


def text(value):
    return {"s": base64.b64encode(value.encode()).decode()}


def array(*values):
    return np.array(values, np.int32)


def convolved(picture):
    """VALID 3 × 3 convolution with bias and ReLU, written out."""
    windows = np.lib.stride_tricks.sliding_window_view(picture[0], (3, 3), axis=(0, 1))
    return np.maximum(np.einsum("hwcij,ijco->hwo", windows, KERNEL) + BIAS, 0)[None]


def test_a_fused_convolution_is_numpys(tmp_path):
    fused = node(
        "y",
        "_FusedConv2D",
        "x",
        "kernel",
        "bias",
        strides=ints(1, 1, 1, 1),
        padding=text("VALID"),
        fused_ops={"list": {"s": [text("BiasAdd")["s"], text("Relu")["s"]]}},
    )
    path = model(tmp_path, [fused], {"kernel": KERNEL, "bias": BIAS})
    picture = RANDOM.normal(size=(1, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(run(path, "y", picture), convolved(picture), rtol=1e-4, atol=1e-4)


def test_an_operator_that_it_does_not_know_is_named(tmp_path):
    path = model(tmp_path, [node("y", "Quantize", "x")], {})
    with pytest.raises(NotImplementedError, match=r"Quantize \(y\)"):
        convert(path, ["y"])


def pooled(x):
    """2 × 2 maxima with stride 2."""
    return x.reshape(1, 4, 2, 4, 2, 2).max(axis=(2, 4))


def depthwise(x):
    """VALID 3 × 3 with stride 2, each channel by itself, with two outputs."""
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(0, 1))[::2, ::2]
    return np.einsum("hwcij,ijcm->hwcm", windows, KERNEL[..., :2]).reshape(1, 3, 3, 4)


def convolved_same(x):
    """SAME 3 × 3 with stride 2: TensorFlow puts the odd row and column of zeros at the end."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x[0], [(0, 1), (0, 1), (0, 0)]), (3, 3), (0, 1))
    return np.einsum("hwcij,ijco->hwo", windows[::2, ::2], KERNEL)[None]


def enlarged(x):
    """Bilinear, 8 to 15 samples a side with corners aligned: every second is an old one."""
    wide = np.insert(x, range(1, 8), (x[:, 1:] + x[:, :-1]) / 2, axis=1)
    return np.insert(wide, range(1, 8), (wide[:, :, 1:] + wide[:, :, :-1]) / 2, axis=2)


def normalized(x):
    return (x - [1, 2]) / np.sqrt(np.array([4, 9]) + 0.5) * [2, 3] + [5, 7]


TRUE = {"b": True}
SAME_POOL = {"ksize": ints(1, 2, 2, 1), "strides": ints(1, 2, 2, 1), "padding": text("SAME")}
STRIDE_2 = {"strides": ints(1, 2, 2, 1), "padding": text("VALID")}
SAME_STRIDE_2 = {"strides": ints(1, 2, 2, 1), "padding": text("SAME")}
PARAMETERS = [np.array(pair, np.float32) for pair in ([2, 3], [5, 7], [1, 2], [4, 9])]
SPARSE = [array([0, 1], [2, 0]), array(3, 2), np.array([5, 6], np.float32), np.array(0, np.float32)]
DENSE = np.array([[0, 5], [0, 0], [6, 0]], np.float32)

# operator, its constant inputs after x, its attributes, the same in numpy
LIKE_NUMPY = [
    ("Add", [BIAS[:2]], {}, lambda x: x + BIAS[:2]),
    ("AddN", [BIAS[:2], BIAS[2:]], {}, lambda x: x + BIAS[:2] + BIAS[2:]),
    ("ArgMax", [array(3)[0]], {"output_type": {"type": "DT_INT32"}}, lambda x: x.argmax(3)),
    ("BiasAdd", [BIAS[:2]], {}, lambda x: x + BIAS[:2]),
    ("Cast", [], {"DstT": {"type": "DT_INT32"}}, lambda x: x.astype(np.int32)),
    ("ConcatV2", [np.ones((1, 8, 8, 3), np.float32), array(-1)[0]], {},
     lambda x: np.concatenate([x, np.ones((1, 8, 8, 3))], -1)),
    ("Conv2D", [KERNEL], SAME_STRIDE_2, convolved_same),
    ("DepthwiseConv2dNative", [KERNEL[..., :2]], STRIDE_2, depthwise),
    ("Exp", [], {}, np.exp),
    ("ExpandDims", [array(1)[0]], {}, lambda x: x[:, None]),
    ("FusedBatchNorm", PARAMETERS, {"epsilon": {"f": 0.5}}, normalized),
    ("GatherNd", [array([0, 1, 2], [0, 7, 0])], {}, lambda x: x[0, [1, 7], [2, 0]]),
    ("GatherV2", [array(3, 0), array(2)[0]], {}, lambda x: x[:, :, [3, 0]]),
    ("LeakyRelu", [], {"alpha": {"f": 0.1}}, lambda x: np.where(x > 0, x, 0.1 * x)),
    ("MaxPool", [], SAME_POOL, pooled),
    ("Mean", [array(1, 2)], {}, lambda x: x.mean((1, 2))),
    ("Mean", [array(1, 2)], {"keep_dims": TRUE}, lambda x: x.mean((1, 2), keepdims=True)),
    ("Mul", [BIAS[:2]], {}, lambda x: x * BIAS[:2]),
    ("Pack", [np.ones((1, 8, 8, 2), np.float32)], {"axis": {"i": "1"}},
     lambda x: np.stack([x, np.ones_like(x)], 1)),
    ("Pad", [array([0, 0], [1, 2], [0, 3], [0, 0])], {},
     lambda x: np.pad(x, [(0, 0), (1, 2), (0, 3), (0, 0)])),
    ("PadV2", [array([0, 0], [1, 0], [0, 0], [0, 0]), np.array(9, np.float32)], {},
     lambda x: np.pad(x, [(0, 0), (1, 0), (0, 0), (0, 0)], constant_values=9)),
    ("RealDiv", [BIAS[:2]], {}, lambda x: x / BIAS[:2]),
    ("Relu", [], {}, lambda x: np.maximum(x, 0)),
    ("Relu6", [], {}, lambda x: np.clip(x, 0, 6)),
    ("Reshape", [array(4, -1)], {}, lambda x: x.reshape(4, -1)),
    ("ResizeBilinear", [array(15, 15)], {"align_corners": TRUE}, enlarged),
    ("Shape", [], {}, lambda x: x.shape),
    ("Sigmoid", [], {}, lambda x: 1 / (1 + np.exp(-x))),
    ("Slice", [array(0, 2, 1, 0), array(1, 3, -1, 1)], {}, lambda x: x[:, 2:5, 1:, :1]),
    ("Sqrt", [], {}, lambda x: np.sqrt(np.where(x < 0, np.nan, x))),
    ("SquaredDifference", [BIAS[:2]], {}, lambda x: (x - BIAS[:2]) ** 2),
    ("Squeeze", [], {"squeeze_dims": ints(0)}, lambda x: x[0]),
    ("Squeeze", [], {}, lambda x: x[0]),
    ("StridedSlice", [array(0, 2, 1, 0), array(1, 6, 8, 0), array(1, 2, 1, 1)],
     {"shrink_axis_mask": {"i": "1"}, "end_mask": {"i": "8"}}, lambda x: x[0, 2:6:2, 1:8]),
    ("StridedSlice", [array(0, 0, 0, 0), array(0, 0, 0, 0), array(1, 1, 1, -1)],
     {"begin_mask": {"i": "15"}, "end_mask": {"i": "15"}}, lambda x: x[..., ::-1]),
    ("StridedSlice", [array(0, -1), array(0, 0), array(1, 1)],
     {"begin_mask": {"i": "1"}, "end_mask": {"i": "1"}, "shrink_axis_mask": {"i": "2"}},
     lambda x: x[:, -1]),
    ("Sub", [BIAS[:2]], {}, lambda x: x - BIAS[:2]),
    ("Tile", [array(2, 1, 1, 3)], {}, lambda x: np.tile(x, (2, 1, 1, 3))),
    ("Transpose", [array(0, 3, 1, 2)], {}, lambda x: x.transpose(0, 3, 1, 2)),
]  # fmt: skip

# operator, its inputs after x, its attributes, an output, the same in numpy
SEVERAL = [
    ("SplitV", [array(3, 5), array(1)[0]], {}, 1, lambda x: x[:, 3:]),
    ("Unpack", [], {"num": {"i": "2"}, "axis": {"i": "3"}}, 1, lambda x: x[..., 1]),
    ("TopKV2", [array(1)[0]], {}, 0, lambda x: x.max(-1, keepdims=True)),
    ("TopKV2", [array(1)[0]], {}, 1, lambda x: x.argmax(-1)[..., None]),
]

# Tested by themselves below, or only by the real models of the integration tests.
ELSEWHERE = {"Identity", "AddV2", "_FusedConv2D", "FusedDepthwiseConv2dNative"}
ELSEWHERE |= {"DepthToSpace", "FloorDiv", "FloorMod", "Equal", "SparseToDense"}


@pytest.fixture
def picture():
    return RANDOM.normal(scale=4, size=(1, 8, 8, 2)).astype(np.float32)


def operated(folder, op, inputs, attributes, output="y"):
    tensors = {f"input{n}": values for n, values in enumerate(inputs)}
    return model(folder, [node("y", op, "x", *tensors, **attributes)], tensors), output


@pytest.mark.parametrize(("op", "inputs", "attributes", "numpys"), LIKE_NUMPY)
def test_an_operator_does_as_numpy(tmp_path, picture, op, inputs, attributes, numpys):
    found = run(*operated(tmp_path, op, inputs, attributes), picture)
    np.testing.assert_allclose(found, numpys(picture), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("op", "inputs", "attributes", "output", "numpys"), SEVERAL)
def test_an_operator_with_several_outputs_does_as_numpy(
    tmp_path, picture, op, inputs, attributes, output, numpys
):
    path, _ = operated(tmp_path, op, inputs, attributes)
    np.testing.assert_array_equal(run(path, f"y:{output}", picture), numpys(picture))


@pytest.mark.parametrize(("op", "expected"), [("FloorDiv", [0, 1, 2]), ("FloorMod", [2, 0, 1])])
def test_indices_are_divided_whole(tmp_path, picture, op, expected):
    tensors = {"a": array(2, 3, 7), "b": array(3, 3, 3), "none": np.zeros(1, np.float32)}
    nodes = [
        node("quotient", op, "a", "b"),
        node("f", "Cast", "quotient", DstT={"type": "DT_FLOAT"}),
        node("zero", "Mean", "x", "axes"),
        node("y", "AddV2", "f", "zero"),
    ]
    path = model(tmp_path, nodes, {**tensors, "axes": array(0, 1, 2, 3)})
    np.testing.assert_allclose(run(path, "y", picture * 0), expected)


def test_what_hangs_on_constants_alone_is_computed_at_once(tmp_path, picture):
    tensors = dict(zip(("places", "shape", "values", "default"), SPARSE, strict=True))
    nodes = [
        node("dense", "SparseToDense", *tensors),
        node("turned", "Transpose", "dense", "order"),
        node("flat", "Reshape", "turned", "six"),
        node("sum", "AddV2", "flat", "flat"),
        node("y", "Tile", "row", "whole"),
        node("row", "Reshape", "x", "minus"),
        node("whole", "Slice", "sum", "start", "count"),
    ]
    more = {
        "order": array(1, 0),
        "six": array(6),
        "minus": array(1, -1),
        "start": array(2),
        "count": array(2),
    }
    path = model(tmp_path, nodes, tensors | more)
    twice = (DENSE.T.reshape(-1) * 2)[2:4]
    assert twice.tolist() == [12, 10]
    np.testing.assert_array_equal(run(path, "y", picture), np.tile(picture.reshape(1, -1), (12, 10)))


def test_a_graph_can_be_cut_at_a_node(tmp_path):
    nodes = [node("loop", "TensorArrayGatherV3", "x"), node("y", "Relu", "loop")]
    entry = np.array([[-1, 2]], np.float32)
    assert run(model(tmp_path, nodes, {}), "y", entry, {"loop": [1, 2]}).tolist() == [[0, 2]]


def test_depth_becomes_space_in_tensorflows_order(tmp_path, picture):
    """Of four channels, the first two are a pixel's upper row."""
    nodes = [
        node("four", "Tile", "x", "times"),
        node("y", "DepthToSpace", "four", block_size={"i": "2"}),
    ]
    path = model(tmp_path, nodes, {"times": array(1, 1, 1, 2)})
    expected = np.zeros((1, 16, 16, 1), np.float32)
    for channel, value in enumerate(np.tile(picture, (1, 1, 1, 2)).transpose(3, 0, 1, 2)):
        expected[:, channel // 2 :: 2, channel % 2 :: 2, 0] = value
    np.testing.assert_array_equal(run(path, "y", picture), expected)


def test_every_operator_is_tested():
    tested = {case[0] for case in (*LIKE_NUMPY, *SEVERAL)}
    assert tested | ELSEWHERE == set(OPERATORS)
    assert not tested & ELSEWHERE


@pytest.mark.parametrize(
    ("quantization", "stored", "expected"),
    [
        (None, np.array([1.5, -2], "<f4"), [1.5, -2]),
        ({"dtype": "uint8", "scale": 0.5, "min": -1}, np.array([0, 3], np.uint8), [-1, 0.5]),
        ({"dtype": "uint16", "scale": 2, "min": 1}, np.array([0, 300], "<u2"), [1, 601]),
        ({"dtype": "float16"}, np.array([1.5, -2], "<f2"), [1.5, -2]),
    ],
)
def test_weights_are_read_as_they_were_stored(tmp_path, quantization, stored, expected):
    weight = {"name": "w", "shape": [2], "dtype": "float32", "quantization": quantization}
    (tmp_path / "w.bin").write_bytes(stored.tobytes())
    document = {"modelTopology": {"node": []}, "weightsManifest": [{"paths": ["w.bin"], "weights": [weight]}]}
    (tmp_path / "model.json").write_text(json.dumps(document), "utf-8")
    constant = graph.read(tmp_path / "model.json").constants["w"]
    assert constant.dtype == np.float32
    assert constant.tolist() == expected
