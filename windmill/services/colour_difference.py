"""How far two colours are apart to the eye: CIEDE2000."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

_25_7 = 25.0**7


def lab(rgb: npt.NDArray[np.uint8]) -> Floats:
    """CIELAB (L 0 to 100, a, b; D65) of n × 3 sRGB colours of 0 to 255."""
    converted = cv2.cvtColor((rgb.reshape(1, -1, 3) / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    return np.asarray(converted[0], np.float64)


def ciede2000(first: Floats, second: Floats) -> Floats:
    """The difference of CIELAB colours (… × 3, broadcast against each other).

    After Sharma, Wu and Dalal 2005 (doi:10.1002/col.20070), whose test pairs it passes.
    """
    l1, a1, b1 = np.moveaxis(first, -1, 0)
    l2, a2, b2 = np.moveaxis(second, -1, 0)
    mean_chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + _25_7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1, h2 = _hue(a1 * stretch, b1), _hue(a2 * stretch, b2)
    grey = c1 * c2 == 0
    apart, far = h2 - h1, np.abs(h2 - h1) > 180
    turn = np.where(grey, 0.0, np.where(far, apart - np.sign(apart) * 360, apart))
    middle = np.where(grey, h1 + h2, np.where(far, (h1 + h2 + 360) / 2 % 360, (h1 + h2) / 2))
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    light = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    rich = (c2 - c1) / (1 + 0.045 * chroma)
    shade = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * _hue_weight(middle))
    around = np.exp(-(((middle - 275) / 25) ** 2))
    bend = -np.sin(np.radians(60 * around)) * 2 * np.sqrt(chroma**7 / (chroma**7 + _25_7))
    difference: Floats = np.sqrt(light**2 + rich**2 + shade**2 + bend * rich * shade)
    return difference


def _hue(a: Floats, b: Floats) -> Floats:
    degrees: Floats = np.degrees(np.arctan2(b, a)) % 360
    return degrees


def _hue_weight(degrees: Floats) -> Floats:
    terms = np.array([[-0.17, 1, -30], [0.24, 2, 0], [0.32, 3, 6], [-0.20, 4, -63]])
    factors, multiples, shifts = terms.T
    waves = factors * np.cos(np.radians(np.multiply.outer(degrees, multiples) + shifts))
    weight: Floats = 1 + waves.sum(axis=-1)
    return weight
