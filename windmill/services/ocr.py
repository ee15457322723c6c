"""PP-OCRv6 small: one network finds lines of text, another reads them (PaddleOCR's, run by RapidOCR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import rapidocr

from windmill.services import emoji, onnx_session
from windmill.services.base import Info, Model, Photo, Pixels, Prediction, Reply, Task, analyzer
from windmill.services.resizing import resized
from windmill.services.weights import Weights

_SHORTER, _LONGER = 640, 1280  # pixels of the sides that a photo is brought to: small print becomes legible
_LEAST = 32  # pixels; narrower photos get a border, as the network knows no smaller picture
_SURE = 0.7  # confidence of a line that is told; textures taken for words have 0.6
_SURE_OF_ONE = 0.9  # of a single character: a round eye is a 0 at 0.75

_FINDER, _READER = "rapidocr/models/PP-OCRv6_det_small.onnx", "rapidocr/models/PP-OCRv6_rec_small.onnx"


def load(weights: Weights) -> Model:
    """Reads Latin and Chinese print that is upright, or turned clockwise by 90°."""
    return analyzer(Info.of(weights, "RapidOCR", "PP-OCRv6 small"), PPOcr(weights))


@dataclass(frozen=True, slots=True)
class Page:
    """A photo (blue, green, red) that is `scale` times the one of `width` × `height` pixels."""

    pixels: Pixels
    scale: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Line:
    """Text, and the corners around it (4 × x, y in pixels of the page)."""

    text: str
    confidence: float
    corners: npt.NDArray[np.float32]


class PPOcr(Task[Photo, Page, list[Line]]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        self._engine = rapidocr.RapidOCR(params=_settings(weights))

    def preprocess(self, asked: Photo) -> Page:
        shorter, longer = sorted((asked.width, asked.height))
        scale = min(_SHORTER / shorter, _LONGER / longer)
        size = max(1, round(asked.width * scale)), max(1, round(asked.height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pixels = resized(asked.pixels, *size, method)[:, :, ::-1]
        below, right = (max(0, _LEAST - side) for side in pixels.shape[:2])
        bordered = np.pad(pixels, ((0, below), (0, right), (0, 0)), "edge")
        return Page(np.ascontiguousarray(bordered), scale, asked.width, asked.height)

    def predict(self, inputs: Sequence[Page]) -> Sequence[list[Line]]:
        return [self._read(one.pixels) for one in inputs]

    def postprocess(self, given: Page, output: list[Line]) -> Reply:
        regions = [_region(given, line) for line in output]
        text = "\n".join(line.text for line in output)
        return {"predictions": [_prediction(text, regions)]}

    def _read(self, pixels: Pixels) -> list[Line]:
        found: Any = self._engine(pixels)
        if found.txts is None:
            return []
        read = (Line(*each) for each in zip(found.txts, map(float, found.scores), found.boxes, strict=True))
        return [line for line in read if line.confidence >= (_SURE if len(line.text) > 1 else _SURE_OF_ONE)]


def _settings(weights: Weights) -> dict[str, Any]:
    """What is not RapidOCR's default. Its network that turns lines by 180° is left out: on small print it
    turns more that stood upright than it helps."""
    runtime = "EngineConfig.onnxruntime"
    return {
        "Global.log_level": "error",
        "Global.text_score": _SURE,
        "Global.use_cls": False,
        "Global.use_preprocess_img": False,
        "Det.limit_type": "max",
        "Det.limit_side_len": _LONGER,
        "Det.model_path": str(weights.path(_FINDER)),
        "Rec.model_path": str(weights.path(_READER)),
        f"{runtime}.intra_op_num_threads": onnx_session.THREADS,
        f"{runtime}.use_cuda": "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    }


def _prediction(text: str, regions: list[Prediction]) -> Prediction:
    sure = [region["confidence"] for region in regions]
    return {
        "text": text,
        "emoji": "💬",
        "has_text": bool(text),
        "confidence": round(sum(sure) / len(sure), 4) if sure else 0.0,
        "text_regions": regions,
        "emoji_mappings": emoji.mappings(text),
    }


def _region(page: Page, line: Line) -> Prediction:
    limits = np.array([page.width, page.height])
    corners = np.clip(line.corners / page.scale, 0, limits)
    (left, top), (right, bottom) = corners.min(axis=0).round(), corners.max(axis=0).round()
    box = {"x": int(left), "y": int(top), "width": int(right - left), "height": int(bottom - top)}
    return {"text": line.text, "confidence": round(min(1.0, line.confidence), 4), "bbox": box}
