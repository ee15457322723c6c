"""Photos in the one size that a network looks at, and the way back for its boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from windmill.services.base import Photo, Pixels
from windmill.services.boxes import Corners
from windmill.services.resizing import resized

_GREY = 114  # what YOLO networks are trained to see beside a photo


@dataclass(frozen=True, slots=True)
class Fitted:
    """A photo inside of a picture (height × width × RGB): a pixel of the photo is `scale` (x, y) of the
    picture's, and the photo's corner lies at `corner` (x, y). `width` and `height` are the photo's."""

    pixels: Pixels
    scale: tuple[float, float]
    corner: tuple[int, int]
    width: int
    height: int

    def back(self, corners: Corners) -> Corners:
        """Boxes (n × x1, y1, x2, y2) in pixels of the picture → in pixels of the photo."""
        moved: Corners = (corners - np.array(self.corner * 2)) / np.array(self.scale * 2)
        return moved


def letterboxed(photo: Photo, width: int, height: int) -> Fitted:
    """The whole photo in the middle of grey, its shape kept to a pixel, as ultralytics' `LetterBox` does."""
    ratio = min(height / photo.height, width / photo.width)
    wide, high = max(round(photo.width * ratio), 1), max(round(photo.height * ratio), 1)
    left = round((width - wide) / 2 - 0.1)  # of an odd number of pixels, one more follows
    top = round((height - high) / 2 - 0.1)
    picture = np.full((height, width, 3), _GREY, np.uint8)
    picture[top : top + high, left : left + wide] = resized(photo.pixels, wide, high)
    scale = (wide / photo.width, high / photo.height)
    return Fitted(picture, scale, (left, top), photo.width, photo.height)


def cornered(photo: Photo, width: int, height: int, fill: int = 0) -> Fitted:
    """The whole photo in the upper left of one colour, its shape kept exactly.

    As if the colour had been put around the photo and both made smaller, of which nobody has the memory
    for a picture of 20000 × 1.
    """
    scale = min(height / photo.height, width / photo.width)
    shift = (scale - 1) / 2  # what counts are the middles of pixels
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    picture = cv2.warpAffine(photo.pixels, matrix, (width, height), borderValue=(fill, fill, fill))
    return Fitted(np.asarray(picture, np.uint8), (scale, scale), (0, 0), photo.width, photo.height)


def stretched(photo: Photo, width: int, height: int) -> Fitted:
    """The photo squeezed into the picture, its shape lost."""
    scale = (width / photo.width, height / photo.height)
    return Fitted(resized(photo.pixels, width, height), scale, (0, 0), photo.width, photo.height)
