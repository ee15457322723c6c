"""Photos in the one size that a network looks at, and the way back for its boxes."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The whole photo in the middle of grey, its shape kept, as ultralytics' `LetterBox` does."""
    return _placed(photo, width, height, fill=_GREY, centred=True)


def cornered(photo: Photo, width: int, height: int, fill: int = 0) -> Fitted:
    """The whole photo in the upper left of black, its shape kept."""
    return _placed(photo, width, height, fill=fill, centred=False)


def stretched(photo: Photo, width: int, height: int) -> Fitted:
    """The photo squeezed into the picture, its shape lost."""
    scale = (width / photo.width, height / photo.height)
    return Fitted(resized(photo.pixels, width, height), scale, (0, 0), photo.width, photo.height)


def _placed(photo: Photo, width: int, height: int, *, fill: int, centred: bool) -> Fitted:
    ratio = min(height / photo.height, width / photo.width)
    wide, high = max(round(photo.width * ratio), 1), max(round(photo.height * ratio), 1)
    left = round((width - wide) / 2 - 0.1) if centred else 0  # of an odd number of pixels, one more follows
    top = round((height - high) / 2 - 0.1) if centred else 0
    picture = np.full((height, width, 3), fill, np.uint8)
    picture[top : top + high, left : left + wide] = resized(photo.pixels, wide, high)
    scale = (wide / photo.width, high / photo.height)
    return Fitted(picture, scale, (left, top), photo.width, photo.height)
