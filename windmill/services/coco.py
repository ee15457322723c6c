"""The 80 classes of COCO with their emoji, and detections as replies hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from windmill.services.base import Photo, Prediction
from windmill.services.resizing import resized

Floats = npt.NDArray[np.float32]

# Numbers of the 90 that the TensorFlow object detection API counts, which COCO left empty.
_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


@cache
def classes() -> tuple[tuple[str, str], ...]:
    """(label, emoji) of the 80 classes, in COCO's order."""
    rows = files("windmill.services").joinpath("coco.tsv").read_text("utf-8").splitlines()
    return tuple((label, emoji) for label, emoji in (row.split("\t") for row in rows))


@cache
def from_90() -> dict[int, int]:
    """Index among the 80 for each number from 1 to 90 that is in use."""
    used = [number for number in range(1, 91) if number not in _GAPS]
    return {number: index for index, number in enumerate(used)}


@dataclass(frozen=True, slots=True)
class Squeezed:
    """A photo as detectors want it, and its true size, to which their boxes are stretched again."""

    planes: Floats
    width: int
    height: int


def squeezed(photo: Photo, side: int) -> Squeezed:
    """The photo as side × side × RGB from 0 to 255, whatever its shape was."""
    planes = resized(photo.pixels, side, side).astype(np.float32)
    return Squeezed(planes, photo.width, photo.height)


def detections(
    seen: Squeezed,
    corners: npt.NDArray[np.floating[Any]],
    scores: Floats,
    indices: Sequence[int],
    *,
    threshold: float,
    overlap: float = 0.5,
) -> list[Prediction]:
    """Predictions from boxes (n × x1, y1, x2, y2 as parts of the photo, 0 to 1), after non-maximum
    suppression by class."""
    if not len(corners):
        return []
    pixels = corners * np.array([seen.width, seen.height] * 2, np.float32)
    sizes = np.concatenate([pixels[:, :2], pixels[:, 2:] - pixels[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(sizes.tolist(), scores.tolist(), list(indices), threshold, overlap)
    order = sorted(np.array(kept).reshape(-1).tolist(), key=lambda n: -scores[n])
    found = (_prediction(seen, pixels[n], float(scores[n]), indices[n]) for n in order)
    return [one for one in found if one["bbox"]["width"] > 0 and one["bbox"]["height"] > 0]


def _prediction(
    seen: Squeezed, corners: npt.NDArray[np.floating[Any]], score: float, index: int
) -> Prediction:
    limits = (seen.width, seen.height, seen.width, seen.height)
    x1, y1, x2, y2 = (
        int(min(max(round(float(v)), 0), most)) for v, most in zip(corners, limits, strict=True)
    )
    label, emoji = classes()[index]
    return {
        "label": label,
        "confidence": round(min(1.0, score), 4),
        "emoji": emoji,
        "bbox": {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
    }
