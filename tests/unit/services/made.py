"""Networks that tests make: small ONNX files that answer the same to every picture."""

import hashlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from windmill.services.base import Photo
from windmill.services.weights import Weights


def weights(path, name):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(name=name, version="own", licence="ours", folder=path.parent, files={path.name: digest})


def photo(width, height, colour=(200, 100, 50)):
    return Photo(data=b"", pixels=np.full((height, width, 3), colour, np.uint8))


def onnx_file(path, *answers, size=(64, 64), batch="batch", half=False, **notes):
    """A file whose input is batch × 3 × size, and which answers with each of `answers` once a picture."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes, outputs, constants = [], [], []
    for n, answer in enumerate(answers):
        value = np.asarray(answer, np.float16 if half else np.float32)[None]
        constants.append(numpy_helper.from_array(value, f"answer{n}"))
        shape = np.array([0] + [1] * (value.ndim - 1), np.int64)
        nodes += [
            helper.make_node("ReduceMax", ["x"], [f"most{n}"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", [f"most{n}", "nothing"], [f"zero{n}"]),
            helper.make_node("Reshape", [f"zero{n}", f"shape{n}"], [f"zeros{n}"]),
            helper.make_node("Add", [f"zeros{n}", f"answer{n}"], [f"y{n}"]),
        ]
        constants.append(numpy_helper.from_array(shape, f"shape{n}"))
        outputs.append(helper.make_tensor_value_info(f"y{n}", kind, [batch, *value.shape[1:]]))
    constants.append(numpy_helper.from_array(np.zeros((), np.float16 if half else np.float32), "nothing"))
    entry = helper.make_tensor_value_info("x", kind, [batch, 3, *size])
    graph = helper.make_graph(nodes, "made", [entry], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {key: str(value) for key, value in notes.items()})
    onnx.save(model, path)
    return path


def columns(*found, classes=3, n=20):
    """YOLOv8's layout: (center x, center y, width, height, class, score) → 4 + classes × n."""
    values = np.zeros((4 + classes, n), np.float32)
    for place, (*box, number, score) in enumerate(found):
        values[:4, place] = box
        values[4 + number, place] = score
    return values


def instances(*found):
    """Fields in the order of their names, as exports have them, and the size."""
    boxes = np.array([box for box, _, _ in found], np.float32).reshape(-1, 4)
    classes = np.array([number for _, number, _ in found], np.int64)
    scores = np.array([score for _, _, score in found], np.float32)
    return [boxes, classes, scores, np.array([480, 640], np.int64)]


def detectron2_file(path, arrays, size):
    outputs = [numpy_helper.from_array(one, f"y{n}") for n, one in enumerate(arrays)]
    nodes = [helper.make_node("Identity", [f"y{n}"], [f"out{n}"]) for n in range(len(arrays))]
    told = [helper.make_tensor_value_info(f"out{n}", o.data_type, o.dims) for n, o in enumerate(outputs)]
    entry = helper.make_tensor_value_info("image", TensorProto.FLOAT, [3, *size])
    graph = helper.make_graph(nodes, "made", [entry], told, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
