"""Which of ImageNet's thousand classes a photo shows: EfficientNet-Lite, under the name `xception`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from windmill import vocabularies
from windmill.services import efficientnet_lite, emoji, onnx_session, onnx_writer, torch_file
from windmill.services.base import Info, Model, Photo, Prediction, Reply, Task, analyzer
from windmill.services.resizing import resized
from windmill.services.weights import Weights

_DEPTH, _SIZE = 1.1, 240  # of Lite1
_MARGIN = 32  # pixels around the middle that is looked at, once the shorter side has _SIZE + _MARGIN
_MEAN, _STD = 127.0, 128.0
_MOST, _THRESHOLD = 5, 0.05

Floats = npt.NDArray[np.float32]


def load(weights: Weights) -> Model:
    """The middle of the photo is looked at with 240 × 240 pixels, as its authors measure it."""
    return analyzer(Info.of(weights, "ONNX Runtime", "EfficientNet-Lite1"), Classifier(weights))


class Classifier(Task[Photo, Floats, Floats]):
    """See `load`."""

    batch = 8

    def __init__(self, weights: Weights) -> None:
        by = [Path(inspect.getfile(module)) for module in (efficientnet_lite, onnx_writer, torch_file)]
        self._session = onnx_session.made(weights, _graph, by, [_DEPTH, _SIZE])

    def preprocess(self, asked: Photo) -> Floats:
        side = max(1, round(min(asked.width, asked.height) * _SIZE / (_SIZE + _MARGIN)))
        top, left = (asked.height - side) // 2, (asked.width - side) // 2
        middle = asked.pixels[top : top + side, left : left + side]
        method = cv2.INTER_AREA if side > _SIZE else cv2.INTER_CUBIC
        planes = resized(middle, _SIZE, _SIZE, method).transpose(2, 0, 1)
        return np.ascontiguousarray((planes - _MEAN) / _STD, np.float32)

    def predict(self, inputs: Sequence[Floats]) -> Sequence[Floats]:
        return list(self._session.run(None, {efficientnet_lite.INPUT: np.stack(inputs)})[0])

    def postprocess(self, given: Floats, output: Floats) -> Reply:  # noqa: ARG002 -- of a task
        return {"predictions": [], "full_image": labels(output)}


def labels(probabilities: Floats) -> list[Prediction]:
    """The best of ImageNet's classes, best first; none where the network is sure of none."""
    best = np.argsort(-probabilities)[:_MOST].tolist()
    return [
        _label(number, float(probabilities[number])) for number in best if probabilities[number] >= _THRESHOLD
    ]


def _label(number: int, probability: float) -> Prediction:
    name = vocabularies.names("imagenet")[number]
    return {
        "label": name,
        "confidence": round(min(1.0, probability), 4),
        "emoji": emoji.of(name, "imagenet"),
    }


def _graph(weights: Weights) -> onnx.ModelProto:
    return efficientnet_lite.graph(torch_file.read(weights.path()), _DEPTH, _SIZE)
