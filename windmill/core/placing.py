"""A crop's reply in the pixels of the image that it was cut from."""

from __future__ import annotations

import json
from typing import Any


def place(body: bytes, *, left: int, top: int, width: int, height: int, bbox_format: str = "xywh") -> str:
    """The reply's JSON with boxes and keypoints moved by the crop's corner, and the crop itself beside them.

    Landmarks stay as fractions of the crop, as their contract says; `crop` (image pixels) places them.
    """
    reply = json.loads(body)
    for prediction in reply["predictions"]:
        _move(prediction, left, top, bbox_format)
    reply["crop"] = {"x": left, "y": top, "width": width, "height": height}
    return json.dumps(reply, ensure_ascii=False)


def _move(prediction: dict[str, Any], left: int, top: int, bbox_format: str) -> None:
    box = prediction.get("bbox")
    if isinstance(box, list) and bbox_format == "xyxy":
        x1, y1, x2, y2 = box
        prediction["bbox"] = [x1 + left, y1 + top, x2 + left, y2 + top]
    elif box:
        prediction["bbox"] = _moved(box, left, top)
    points = prediction.get("keypoints")
    if isinstance(points, dict):
        prediction["keypoints"] = {name: _moved(point, left, top) for name, point in points.items()}


def _moved(place: Any, left: int, top: int) -> Any:
    """A point or a box, as a dict with x and y or a list that begins with them."""
    if isinstance(place, dict):
        return place | {"x": place["x"] + left, "y": place["y"] + top}
    x, y, *rest = place
    return [x + left, y + top, *rest]
