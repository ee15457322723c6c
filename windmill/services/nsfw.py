"""open_nsfw: a thin ResNet-50 that tells pornography from other pictures (Yahoo 2016)."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from windmill.services import onnx_session
from windmill.services.base import Info, Model, Photo, Reply, Task, analyzer
from windmill.services.weights import Weights

_SQUEEZED, _SIZE = 256, 224  # pixels a side; the middle is looked at
_MEAN = (104, 117, 123)  # blue, green, red
_THRESHOLD = 0.8  # the authors call what is above "highly probable", and below 0.2 safe

Floats = npt.NDArray[np.float32]


def load(weights: Weights) -> Model:
    """The input is squeezed to 256 × 256 and goes through JPEG, as the network was trained and measured."""
    return analyzer(Info.of(weights, "ONNX Runtime", "open_nsfw ResNet-50-thin"), OpenNsfw(weights))


class OpenNsfw(Task[Photo, Floats, float]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        self._session = onnx_session.open_session(weights.path())

    def preprocess(self, asked: Photo) -> Floats:
        squeezed = Image.fromarray(asked.pixels).resize((_SQUEEZED, _SQUEEZED), Image.Resampling.BILINEAR)
        margin = (_SQUEEZED - _SIZE) // 2
        middle, file = squeezed.crop((margin, margin, margin + _SIZE, margin + _SIZE)), io.BytesIO()
        middle.save(file, "JPEG")
        pixels = np.asarray(Image.open(file), np.float32)
        return np.ascontiguousarray(pixels[:, :, ::-1] - np.array(_MEAN, np.float32))

    def predict(self, inputs: Sequence[Floats]) -> Sequence[float]:
        (scores,) = self._session.run(None, {"input:0": np.stack(inputs)})
        return [float(score) for score in scores[:, 1]]

    def postprocess(self, given: Floats, output: float) -> Reply:  # noqa: ARG002 -- of a task
        return {"predictions": [verdict(output)]}


def verdict(score: float) -> Reply:
    """What a score from 0 (harmless) to 1 means; `confidence` is of the verdict, whichever it is."""
    nsfw = score >= _THRESHOLD
    return {
        "nsfw": nsfw,
        "confidence": round(min(1.0, score if nsfw else 1.0 - score), 4),
        "emoji": "🔞" if nsfw else "",
        "score": round(score, 4),
    }
