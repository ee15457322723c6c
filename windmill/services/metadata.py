"""What a file says about itself (EXIF, GPS, dimensions, format), and what its pixels say of how it was taken.

Pillow reads EXIF well, and it is here already: what other readers add (makers' own notes) nobody asks for.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import PIL
from PIL import ExifTags, Image

from windmill.services import colors
from windmill.services.base import Info, Model, Photo, Prediction, Reply, Task, analyzer
from windmill.services.resizing import within

_SIDE = 512  # pixels of the reduced photo whose sharpness is told
_BLACK, _WHITE = 2, 253  # grey levels from 0 to 255
_LONGEST_TEXT = 500  # characters of one EXIF value
_LEFT_OUT = {"MakerNote", "UserComment", "PrintImageMatching", "ExifOffset", "GPSInfo"}


def load() -> Model:
    """There is nothing to load."""
    return analyzer(Info(framework="Pillow", name="metadata", version=PIL.__version__), Metadata())


class Metadata(Task[Photo, Prediction, Prediction]):
    """All is read where many threads may: there is no model that could only do one thing at a time."""

    def preprocess(self, asked: Photo) -> Prediction:
        with Image.open(io.BytesIO(asked.data)) as picture:
            exif = picture.getexif()
            camera = exif.get_ifd(ExifTags.IFD.Exif)
            return {
                "dimensions": {
                    "width": asked.width,
                    "height": asked.height,
                    "megapixels": round(asked.width * asked.height / 1e6, 2),
                    "aspect_ratio": round(asked.width / asked.height, 4),
                },
                "file": {
                    "format": picture.format,
                    "mode": picture.mode,
                    "size_bytes": len(asked.data),
                    "sha256": hashlib.sha256(asked.data).hexdigest(),
                },
                "exif": _named({**exif, **camera}, ExifTags.TAGS),
                "gps": _position(exif.get_ifd(ExifTags.IFD.GPSInfo)),
                **seen(asked),
            }

    def predict(self, inputs: Sequence[Prediction]) -> Sequence[Prediction]:
        return inputs

    def postprocess(self, given: Prediction, output: Prediction) -> Reply:  # noqa: ARG002 -- of a task
        return {"predictions": [output]}


def seen(photo: Photo) -> Prediction:
    """How sharp and how bright a photo is, and its colours.

    `blur.laplacian_variance`: the less, the more blurred (Pech-Pacheco et al. 2000,
    doi:10.1109/ICPR.2000.903548), of a photo reduced to 512 pixels a side, so that sizes compare. Shadows and
    highlights are the parts of it that are (nearly) black and white; luminance is from 0 to 1.
    """
    grey = cv2.cvtColor(within(photo.pixels, _SIDE, cv2.INTER_AREA)[0], cv2.COLOR_RGB2GRAY)
    shares = (grey <= _BLACK, grey >= _WHITE)
    dark, bright = (round(float(share.mean()), 4) for share in shares)
    return {
        "blur": {"laplacian_variance": round(float(cv2.Laplacian(grey, cv2.CV_64F).var()), 2)},
        "exposure": {
            "mean_luminance": round(float(grey.mean()) / 255, 4),
            "clipped_shadows": dark,
            "clipped_highlights": bright,
        },
        "palette": [
            {"hex": colors.hex_code(rgb), "share": share}
            for rgb, share in colors.palette(colors.reduced(photo))
        ],
    }


def _named(values: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, Any]:
    named = {names.get(number, f"0x{number:04x}"): value for number, value in values.items()}
    return {name: _plain(value) for name, value in named.items() if name not in _LEFT_OUT}


def _plain(value: Any) -> Any:
    """A value that JSON can hold."""
    if isinstance(value, bytes):
        return value[:_LONGEST_TEXT].decode("ascii", "replace").strip("\0 ")
    if isinstance(value, str):
        return value[:_LONGEST_TEXT].strip("\0 ")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value[:32]]
    if isinstance(value, int):
        return value
    number = _number(value)
    return str(value)[:_LONGEST_TEXT] if number is None else number


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return round(number, 6) if math.isfinite(number) else None


def _position(gps: Mapping[int, Any]) -> dict[str, float] | None:
    """Degrees, north and east positive; None where the file does not say, or says it wrongly."""
    latitude = _degrees(gps.get(2), gps.get(1) == "S")
    longitude = _degrees(gps.get(4), gps.get(3) == "W")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return {"latitude": latitude, "longitude": longitude}


def _degrees(parts: Any, negative: bool) -> float | None:
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    numbers = [number for number in map(_number, parts) if number is not None]
    if len(numbers) != 3:
        return None
    degrees = numbers[0] + numbers[1] / 60 + numbers[2] / 3600
    return round(-degrees if negative else degrees, 6)
