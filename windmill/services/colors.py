"""A photo's palette: the nearest Prismacolor pencil and Copic marker and the temperature of each colour."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import PIL
from PIL import Image

from windmill.services.base import Info, Model, Photo, Pixels, Prediction, Reply, Task, analyzer
from windmill.services.colour_difference import Floats, ciede2000, lab
from windmill.services.resizing import within

_COLOURS = 8
_SIDE = 100  # pixels of the reduced photo that is quantised
_GREY = 8.0  # CIELAB chroma below which a colour is neither warm nor cool


def load() -> Model:
    """There is nothing to load but the names; the hex codes of both ranges are approximations on screen."""
    return analyzer(Info(framework="Pillow", name="median cut + k-means", version=PIL.__version__), Colors())


class Colors(Task[Photo, Pixels, list[Prediction]]):
    """See `load`."""

    def preprocess(self, asked: Photo) -> Pixels:
        return reduced(asked)

    def predict(self, inputs: Sequence[Pixels]) -> Sequence[list[Prediction]]:
        return [[_colour(rgb, share) for rgb, share in palette(pixels)] for pixels in inputs]

    def postprocess(self, given: Pixels, output: list[Prediction]) -> Reply:  # noqa: ARG002 -- of a task
        return {"predictions": [{"primary": output[0], "palette": {"colors": output}}]}


def reduced(photo: Photo) -> Pixels:
    """The photo as `palette` wants it: small, so that it takes milliseconds."""
    return within(photo.pixels, _SIDE, cv2.INTER_AREA)[0]


def palette(pixels: Pixels) -> list[tuple[Pixels, float]]:
    """Up to eight colours by their share of the picture, largest first."""
    quantised = Image.fromarray(pixels).quantize(_COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    table = np.array(quantised.getpalette(), np.uint8).reshape(-1, 3)
    counts = np.bincount(np.asarray(quantised).reshape(-1), minlength=len(table))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda n: -int(counts[n]))
    return [(table[n], round(int(counts[n]) / int(counts.sum()), 4)) for n in order]


def _colour(rgb: Pixels, share: float) -> dict[str, Any]:
    own = lab(rgb)[0]
    return {
        "hex": hex_code(rgb),
        "copic": nearest("copic", own),
        "prismacolor": nearest("prismacolor", own),
        "temperature": temperature(own),
        "share": share,
    }


def hex_code(rgb: Pixels) -> str:
    """#rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*rgb.tolist())


def nearest(names: str, colour: Floats) -> str:
    """The name in the list `names` that is nearest to a CIELAB colour, by CIEDE2000."""
    labels, values = _named(names)
    return labels[int(ciede2000(values, colour[None]).argmin())]


def temperature(colour: Floats) -> str:
    """warm (reds to yellow-greens), cool (greens to violets) or neutral, by the CIELAB hue angle."""
    _, a, b = colour
    if float(np.hypot(a, b)) < _GREY:
        return "neutral"
    return "warm" if -30 <= float(np.degrees(np.arctan2(b, a))) < 115 else "cool"


@cache
def _named(names: str) -> tuple[tuple[str, ...], Floats]:
    text = files("windmill.services").joinpath(f"{names}.tsv").read_text("utf-8")
    rows = [row.split("\t") for row in text.splitlines()]
    rgb = np.array([list(bytes.fromhex(code[1:])) for _, code in rows], np.uint8)
    return tuple(label for label, _ in rows), lab(rgb)
