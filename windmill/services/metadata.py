"""What a file says about itself: EXIF, GPS, dimensions, format."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import PIL
from PIL import ExifTags, Image

from windmill.services.base import Info, Model, Photo, Prediction, Reply, Task, analyzer

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
            }

    def predict(self, inputs: Sequence[Prediction]) -> Sequence[Prediction]:
        return inputs

    def postprocess(self, given: Prediction, output: Prediction) -> Reply:  # noqa: ARG002 -- of a task
        return {"predictions": [output]}


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
