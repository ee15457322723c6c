"""SSDLite with MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), as TensorFlow.js ships it for COCO."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from windmill.services import coco, onnx_session
from windmill.services.base import Photo, Prediction

_SIZE = 300
_INPUT = "Preprocessor/map/TensorArrayStack/TensorArrayGatherV3"  # before it is a loop that only resizes
_OUTPUTS = ("Postprocessor/ExpandDims_1", "Postprocessor/Slice")
_THRESHOLD = 0.4


class SSDLite:
    """Loads at once; the input is squeezed to 300 × 300."""

    def __init__(self) -> None:
        self._session = onnx_session.converted(
            "ssdlite", "package/models/coco-ssd/model.json", _OUTPUTS, {_INPUT: [1, _SIZE, _SIZE, 3]}
        )
        self._input = self._session.get_inputs()[0].name
        self.info = onnx_session.info("ssdlite", "ONNX Runtime", "SSDLite MobileNetV2")

    def predict(self, photo: Photo) -> Sequence[Prediction]:
        """See `base.Model`."""
        picture = cv2.resize(photo.pixels, (_SIZE, _SIZE))[None].astype(np.float32)
        boxes, scores = self._session.run(None, {self._input: np.ascontiguousarray(picture)})
        best, numbers = scores[0].max(axis=1), scores[0].argmax(axis=1) + 1
        strong = [n for n in np.flatnonzero(best > _THRESHOLD) if int(numbers[n]) in coco.from_90()]
        y1, x1, y2, x2 = boxes.reshape(-1, 4)[strong].T
        scale = np.array([photo.width, photo.height] * 2, np.float32)
        corners = np.stack([x1, y1, x2, y2], axis=1) * scale
        indices = [coco.from_90()[int(numbers[n])] for n in strong]
        return coco.detections(photo, corners, best[strong], indices, threshold=_THRESHOLD)
