"""CenterNet with MobileNetV3 (Zhou et al. 2019, arXiv:1904.07850): objects as points."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from windmill.services import coco, onnx_session
from windmill.services.base import Photo, Prediction

_SIZE = 512
_THRESHOLD = 0.3


class CenterNet:
    """Loads at once; the input is squeezed to 512 × 512. The weakest of the three, good for disagreement."""

    def __init__(self) -> None:
        self._session = onnx_session.converted(
            "centernet", "package/models/centernet.json", ["tower_0/detections"]
        )
        self._input = self._session.get_inputs()[0].name
        self.info = onnx_session.info("centernet", "ONNX Runtime", "CenterNet MobileNetV3 512")

    def predict(self, photo: Photo) -> Sequence[Prediction]:
        """See `base.Model`."""
        picture = cv2.resize(photo.pixels, (_SIZE, _SIZE))[None].astype(np.float32)
        found = self._session.run(None, {self._input: np.ascontiguousarray(picture)})[0][0]
        found = found[found[:, 4] > _THRESHOLD]  # x1, y1, x2, y2, score, class
        corners = found[:, :4] * np.array([photo.width, photo.height] * 2, np.float32) / _SIZE
        indices = found[:, 5].astype(int).tolist()
        return coco.detections(photo, corners, found[:, 4], indices, threshold=_THRESHOLD)
