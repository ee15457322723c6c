"""YuNet: a small face detector with five keypoints (Wu et al. 2023, doi:10.1007/s11633-023-1423-y)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from windmill.services.base import Info, Model, Photo, Pixels, Prediction, Reply, Task, analyzer
from windmill.services.resizing import within
from windmill.services.weights import Weights

_LONGEST = 640  # pixels; larger photos are reduced first
_THRESHOLD = 0.7
_KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")

Faces = npt.NDArray[np.float32]  # n × x, y, width, height, five keypoints, score


def load(weights: Weights) -> Model:
    """Photos are looked at with up to 640 pixels a side."""
    return analyzer(Info.of(weights, "OpenCV DNN", "YuNet 2023mar int8bq"), YuNet(weights))


@dataclass(frozen=True, slots=True)
class Reduced:
    """A photo (blue, green, red) that is `scale` times the one of `width` × `height` pixels."""

    pixels: Pixels
    scale: float
    width: int
    height: int


class YuNet(Task[Photo, Reduced, Faces]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it warns of what nobody set
        self._detector = cv2.FaceDetectorYN.create(str(weights.path()), "", (320, 320), _THRESHOLD)

    def preprocess(self, asked: Photo) -> Reduced:
        pixels, scale = within(asked.pixels, _LONGEST)
        return Reduced(np.ascontiguousarray(pixels[:, :, ::-1]), scale, asked.width, asked.height)

    def predict(self, inputs: Sequence[Reduced]) -> Sequence[Faces]:
        return [self._detected(one.pixels) for one in inputs]

    def postprocess(self, given: Reduced, output: Faces) -> Reply:
        found = ({"emoji": "🙂", **prediction(given, face)} for face in output)
        return {"predictions": [one for one in found if min(one["bbox"][2:]) > 0]}

    def _detected(self, pixels: Pixels) -> Faces:
        self._detector.setInputSize(pixels.shape[1::-1])
        _, found = self._detector.detect(pixels)
        return np.zeros((0, 15), np.float32) if found is None else np.asarray(found, np.float32)


def prediction(given: Reduced, face: Any) -> Prediction:
    """A face (a row of `Faces`, in pixels of the reduced photo) in pixels of the photo."""
    x1, y1, width, height = (float(value) / given.scale for value in face[:4])
    left, top = max(0, round(x1)), max(0, round(y1))
    right, bottom = min(given.width, round(x1 + width)), min(given.height, round(y1 + height))
    points = (face[4:14].reshape(5, 2) / given.scale).round(1).tolist()
    return {
        "label": "face",
        "confidence": round(min(1.0, float(face[14])), 4),
        "bbox": [left, top, right - left, bottom - top],
        "keypoints": dict(zip(_KEYPOINTS, points, strict=True)),
    }
