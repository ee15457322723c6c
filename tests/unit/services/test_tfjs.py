"""The converter: a graph made here, run by onnxruntime, compared with numpy."""

import json

import numpy as np
import onnxruntime
import pytest

from windmill.services.tfjs import convert

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


def run(path, output, picture):
    session = onnxruntime.InferenceSession(
        convert(path, [output]).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": picture})[0]


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
        strides={"list": {"i": ["1", "1", "1", "1"]}},
        padding={"s": "VkFMSUQ="},
        fused_ops={"list": {"s": ["Qmlhc0FkZA==", "UmVsdQ=="]}},
    )
    path = model(tmp_path, [fused], {"kernel": KERNEL, "bias": BIAS})
    picture = RANDOM.normal(size=(1, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(run(path, "y", picture), convolved(picture), rtol=1e-4, atol=1e-4)


def test_slices_and_pads_are_numpys(tmp_path):
    nodes = [
        node(
            "part",
            "StridedSlice",
            "x",
            "begin",
            "end",
            "step",
            shrink_axis_mask={"i": "1"},
            end_mask={"i": "8"},
        ),
        node("y", "Pad", "part", "sides"),
    ]
    tensors = {
        "begin": np.array([0, 2, 1, 0], np.int32),
        "end": np.array([1, 6, 8, 0], np.int32),
        "step": np.array([1, 2, 1, 1], np.int32),
        "sides": np.array([[1, 0], [0, 2], [0, 0]], np.int32),
    }
    picture = RANDOM.normal(size=(1, 8, 8, 2)).astype(np.float32)
    expected = np.pad(picture[0, 2:6:2, 1:8, :], tensors["sides"])
    np.testing.assert_array_equal(run(model(tmp_path, nodes, tensors), "y", picture), expected)


def test_an_operator_that_it_does_not_know_is_named(tmp_path):
    path = model(tmp_path, [node("y", "Quantize", "x")], {})
    with pytest.raises(NotImplementedError, match=r"Quantize \(y\)"):
        convert(path, ["y"])
