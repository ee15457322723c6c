"""SSDLite with MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), as TensorFlow.js ships it for COCO."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windmill.services import coco, onnx_session
from windmill.services.base import Info, Model, Photo, Reply, Task, analyzer
from windmill.services.boxes import Floats
from windmill.services.coco import Squeezed
from windmill.services.weights import Weights

_SIZE = 300
_INPUT = "Preprocessor/map/TensorArrayStack/TensorArrayGatherV3"  # before it is a loop that only resizes
_OUTPUTS = ("Postprocessor/ExpandDims_1", "Postprocessor/Slice")
_THRESHOLD = 0.4


def load(weights: Weights) -> Model:
    """The input is squeezed to 300 × 300."""
    return analyzer(Info.of(weights, "ONNX Runtime", "SSDLite MobileNetV2"), SSDLite(weights))


class SSDLite(Task[Photo, Squeezed, tuple[Floats, Floats]]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        self._session = onnx_session.converted(
            weights, "package/models/coco-ssd/model.json", _OUTPUTS, {_INPUT: [1, _SIZE, _SIZE, 3]}
        )
        self._input = self._session.get_inputs()[0].name

    def preprocess(self, asked: Photo) -> Squeezed:
        return coco.squeezed(asked, _SIZE)

    def predict(self, inputs: Sequence[Squeezed]) -> Sequence[tuple[Floats, Floats]]:
        return [tuple(self._session.run(None, {self._input: one.planes[None]})) for one in inputs]

    def postprocess(self, given: Squeezed, output: tuple[Floats, Floats]) -> Reply:
        boxes, scores = output
        best, numbers = scores[0].max(axis=1), scores[0].argmax(axis=1) + 1
        strong = [n for n in np.flatnonzero(best > _THRESHOLD) if int(numbers[n]) in coco.from_90()]
        y1, x1, y2, x2 = boxes.reshape(-1, 4)[strong].T
        indices = [coco.from_90()[int(numbers[n])] for n in strong]
        corners = np.stack([x1, y1, x2, y2], axis=1)
        found = coco.detections(given, corners, best[strong], indices, threshold=_THRESHOLD)
        return {"predictions": found}
