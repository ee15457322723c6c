"""NanoDet-m 416: an anchor-free one-stage detector with generalized focal loss (RangiLyu, 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from windmill.services import coco, onnx_session
from windmill.services.base import Info, Model, Photo, Reply, Task, analyzer
from windmill.services.boxes import Floats
from windmill.services.coco import Squeezed
from windmill.services.weights import Weights

_SIZE = 416
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # blue, green, red
_STRIDES = (8, 16, 32)
_BINS = 11  # each side of a box is a distribution over 0…10 strides
_THRESHOLD = 0.4


def load(weights: Weights) -> Model:
    """The input is squeezed to 416 × 416."""
    return analyzer(Info.of(weights, "ONNX Runtime", "NanoDet-m 416"), NanoDet(weights))


class NanoDet(Task[Photo, Squeezed, list[Floats]]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        outputs = [f"Identity{suffix}:0" for suffix in ("", "_1", "_2", "_3", "_4", "_5")]
        self._session = onnx_session.converted(weights, "package/models/nanodet.json", outputs)
        self._input = self._session.get_inputs()[0].name

    def preprocess(self, asked: Photo) -> Squeezed:
        squeezed = coco.squeezed(asked, _SIZE)
        planes = ((squeezed.planes[:, :, ::-1] - _MEAN) / _STD).transpose(2, 0, 1)
        return replace(squeezed, planes=np.ascontiguousarray(planes, np.float32))

    def predict(self, inputs: Sequence[Squeezed]) -> Sequence[list[Floats]]:
        return [self._session.run(None, {self._input: one.planes[None]}) for one in inputs]

    def postprocess(self, given: Squeezed, output: list[Floats]) -> Reply:
        levels = [_decode(output, stride) for stride in _STRIDES]
        corners, scores, indices = (np.concatenate(parts) for parts in zip(*levels, strict=True))
        found = coco.detections(given, corners / _SIZE, scores, indices.tolist(), threshold=_THRESHOLD)
        return {"predictions": found}


def _decode(outputs: Sequence[Floats], stride: int) -> tuple[Floats, Floats, Floats]:
    """Corners (in input pixels), scores and classes of one feature level, above the threshold."""
    side = _SIZE // stride
    scores = next(out for out in outputs if out.shape[1:] == (side * side, 80))[0]
    sides = next(out for out in outputs if out.shape[1:] == (side * side, 4 * _BINS))[0]
    best = scores.max(axis=1)
    strong = best > _THRESHOLD
    distances = _expected(sides[strong].reshape(-1, 4, _BINS)) * stride
    rows, columns = np.divmod(np.flatnonzero(strong), side)
    centers = (np.stack([columns, rows], axis=1) + 0.5) * stride
    corners = np.concatenate([centers - distances[:, :2], centers + distances[:, 2:]], axis=1)
    return corners.astype(np.float32), best[strong], scores[strong].argmax(axis=1)


def _expected(logits: Floats) -> Floats:
    """Mean of each distribution, in bins (n × 4)."""
    weights = np.exp(logits - logits.max(axis=2, keepdims=True))
    mean: Floats = (weights * np.arange(_BINS)).sum(axis=2) / weights.sum(axis=2)
    return mean
