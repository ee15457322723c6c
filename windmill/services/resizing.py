"""Photos made smaller, as models want them."""

from __future__ import annotations

import cv2
import numpy as np

from windmill.services.base import Pixels

_STRIP = 10  # times as long as wide


def resized(pixels: Pixels, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> Pixels:
    """The picture (height × width × channels) in another size, whatever its shape was."""
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


def within(pixels: Pixels, longest: int, interpolation: int = cv2.INTER_LINEAR) -> tuple[Pixels, float]:
    """The picture with at most `longest` pixels a side, and how many times its former size that is."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return resized(pixels, *size, interpolation), scale


def no_strip(pixels: Pixels) -> Pixels:
    """The photo, or the middle of one that is more than ten times as long as wide.

    Models that enlarge the short side to their own would fill the memory with a strip: 1 × 20,000 pixels
    become 224 × 4,480,000.
    """
    height, width = pixels.shape[:2]
    most = _STRIP * min(height, width)
    top, left = max(0, height - most) // 2, max(0, width - most) // 2
    return pixels[top : top + most, left : left + most]
