"""MoveNet SinglePose Lightning: 17 points of one person, as Google published it on TensorFlow Hub in 2021.

Where several people are, it looks at the one in the middle; it has no depth, and says nothing of presence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from windmill.services import body, onnx_session
from windmill.services.base import Info, Model, Photo, Pixels, Reply, Task, analyzer
from windmill.services.body import Point
from windmill.services.weights import Weights

_SIZE = 192
_PRESENT = 0.3  # mean confidence of the points, below which nobody is there
_VISIBLE = 0.3  # as its authors advise

NAMES = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def load(weights: Weights) -> Model:
    """The input is reduced to 192 × 192 with its shape kept."""
    return analyzer(Info.of(weights, "ONNX Runtime", "MoveNet SinglePose Lightning 4"), MoveNet(weights))


@dataclass(frozen=True, slots=True)
class Framed:
    """A photo's middle in a square of 192 pixels; the photo itself is `width` × `height` of them."""

    square: Pixels
    width: int
    height: int


class MoveNet(Task[Photo, Framed, npt.NDArray[np.float32]]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        self._session = onnx_session.converted(
            weights, "package/models/movenet-lightning.json", ["Identity:0"]
        )

    def preprocess(self, asked: Photo) -> Framed:
        height, width = asked.pixels.shape[:2]
        scale = _SIZE / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        reduced = cv2.resize(
            asked.pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        square = np.zeros((_SIZE, _SIZE, 3), np.uint8)
        top, left = _margins(size)
        square[top : top + size[1], left : left + size[0]] = reduced
        return Framed(square, *size)

    def predict(self, inputs: Sequence[Framed]) -> Sequence[npt.NDArray[np.float32]]:
        """17 × y, x (0 to 1 of the square), confidence."""
        return [
            self._session.run(None, {"input": one.square[None].astype(np.int32)})[0][0, 0] for one in inputs
        ]

    def postprocess(self, given: Framed, output: npt.NDArray[np.float32]) -> Reply:
        presence = float(output[:, 2].mean())
        if presence < _PRESENT:
            return {"predictions": []}
        top, left = _margins((given.width, given.height))
        points = {
            name: Point(x=float(x) * _SIZE - left, y=float(y) * _SIZE - top, visibility=float(seen))
            for name, (y, x, seen) in zip(NAMES, output, strict=True)
        }
        found = body.prediction(points, given.width, given.height, presence=presence, visible=_VISIBLE)
        return {"predictions": [found]}


def _margins(size: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of a picture (width, height) in the square."""
    return (_SIZE - size[1]) // 2, (_SIZE - size[0]) // 2
