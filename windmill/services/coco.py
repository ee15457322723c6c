"""The numbers of COCO's 80 classes, and detections of them as replies hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from windmill import vocabularies
from windmill.services import boxes
from windmill.services.base import Photo, Prediction
from windmill.services.boxes import Corners, Floats, Found
from windmill.services.resizing import resized

# Numbers of the 90 that the TensorFlow object detection API counts, which COCO left empty.
_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


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
    corners: Corners,
    scores: Floats,
    indices: Sequence[int],
    *,
    threshold: float,
    overlap: float = 0.5,
) -> list[Prediction]:
    """Predictions from boxes (n × x1, y1, x2, y2 as parts of the photo, 0 to 1), after non-maximum
    suppression by class."""
    pixels = corners * np.array([seen.width, seen.height] * 2, np.float32)
    found = Found(pixels, scores, np.array(indices, int))
    kept = boxes.suppressed(found.at(scores > threshold), overlap)
    return boxes.predictions(boxes.visible(kept, seen.width, seen.height), vocabularies.names("coco"), "coco")
