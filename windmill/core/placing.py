"""A crop's reply in the pixels of the image that it was cut from."""

from __future__ import annotations

import json
from typing import Any


def place(body: bytes, *, left: int, top: int, width: int, height: int) -> str:
    """The reply's JSON with boxes and keypoints moved by the crop's corner, and the crop itself beside them.

    Landmarks stay as fractions of the crop, as their contract says; `crop` (image pixels) places them.
    """
    reply = json.loads(body)
    for prediction in reply["predictions"]:
        _move(prediction, left, top)
    reply["crop"] = {"x": left, "y": top, "width": width, "height": height}
    return json.dumps(reply, ensure_ascii=False)


def _move(prediction: dict[str, Any], left: int, top: int) -> None:
    if prediction.get("bbox"):
        prediction["bbox"] = _moved(prediction["bbox"], left, top)
    points = prediction.get("keypoints")
    if isinstance(points, dict):
        prediction["keypoints"] = {name: _moved(point, left, top) for name, point in points.items()}


def _moved(place: Any, left: int, top: int) -> Any:
    """A point or a box, as a dict with x and y or a list that begins with them."""
    if isinstance(place, dict):
        return place | {"x": place["x"] + left, "y": place["y"] + top}
    x, y, *rest = place
    return [x + left, y + top, *rest]
