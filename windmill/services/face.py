"""YuNet: a small face detector with five keypoints (Wu et al. 2023, doi:10.1007/s11633-023-1423-y)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from windmill.services import onnx_session, weights
from windmill.services.base import Photo, Prediction

_LONGEST = 640  # pixels; larger photos are reduced first
_THRESHOLD = 0.7
_KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")


class YuNet:
    """Loads at once."""

    def __init__(self) -> None:
        source = weights.fetch("face")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it warns of what nobody set
        self._detector = cv2.FaceDetectorYN.create(str(source.path()), "", (320, 320), _THRESHOLD)
        self.info = onnx_session.info("face", "OpenCV DNN", "YuNet 2023mar int8bq")

    def predict(self, photo: Photo) -> Sequence[Prediction]:
        """See `base.Model`."""
        scale = min(1.0, _LONGEST / max(photo.width, photo.height))
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        self._detector.setInputSize(size)
        _, found = self._detector.detect(np.ascontiguousarray(cv2.resize(photo.pixels, size)[:, :, ::-1]))
        predictions = () if found is None else (_prediction(photo, face, scale) for face in found)
        return [one for one in predictions if min(one["bbox"][2:]) > 0]


def _prediction(photo: Photo, face: Any, scale: float) -> Prediction:
    """`face`: x, y, width, height, five keypoints, score; in pixels of the reduced photo."""
    x1, y1, width, height = (float(value) / scale for value in face[:4])
    left, top = max(0, round(x1)), max(0, round(y1))
    right, bottom = min(photo.width, round(x1 + width)), min(photo.height, round(y1 + height))
    points = (face[4:14].reshape(5, 2) / scale).round(1).tolist()
    return {
        "label": "face",
        "emoji": "🙂",
        "confidence": round(min(1.0, float(face[14])), 4),
        "bbox": [left, top, right - left, bottom - top],
        "keypoints": dict(zip(_KEYPOINTS, points, strict=True)),
    }
