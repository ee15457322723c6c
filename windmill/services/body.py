"""A body's points by name, and the angles of its joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from windmill.services.base import Prediction

# Each angle is at the middle one of three points.
_JOINTS = {
    f"{side}_{joint}": tuple(f"{side}_{name}" for name in points)
    for side in ("left", "right")
    for joint, points in {
        "elbow": ("shoulder", "elbow", "wrist"),
        "knee": ("hip", "knee", "ankle"),
        "shoulder": ("elbow", "shoulder", "hip"),
        "hip": ("shoulder", "hip", "knee"),
    }.items()
}


@dataclass(frozen=True, slots=True)
class Point:
    """`x`, `y` in pixels of the photo; `z` in pixels, too, nearer is negative; `visibility` from 0 to 1."""

    x: float
    y: float
    visibility: float
    z: float | None = None


def prediction(
    points: Mapping[str, Point], width: int, height: int, *, presence: float, visible: float
) -> Prediction:
    """A person on a photo of this size, as docs/service-api.md says.

    `visible`: what a point's visibility must be for its angles to be told.
    """
    seen = {name: _seen(point, width, height) for name, point in points.items()}
    return {
        "landmarks": {name: _landmark(point, width, height) for name, point in seen.items()},
        "pose_analysis": {"joint_angles": joint_angles(seen, visible)},
        "confidence": round(min(1.0, presence), 4),
    }


def joint_angles(points: Mapping[str, Point], visible: float) -> dict[str, float]:
    """Degrees from 0 (folded) to 180 (stretched), as the picture shows them; only where all three points
    are visible."""
    angles = {}
    for joint, names in _JOINTS.items():
        first, middle, last = (points[name] for name in names)
        if min(first.visibility, middle.visibility, last.visibility) >= visible:
            angles[joint] = round(_angle(first, middle, last), 1)
    return angles


def _angle(first: Point, middle: Point, last: Point) -> float:
    """Degrees; 0 where two of the points coincide."""
    one, other = _vector(middle, first), _vector(middle, last)
    crossed, along = one[0] * other[1] - one[1] * other[0], one @ other
    return float(np.degrees(np.arctan2(abs(crossed), along)))


def _vector(start: Point, end: Point) -> npt.NDArray[np.float64]:
    return np.array([end.x - start.x, end.y - start.y])


def _seen(point: Point, width: int, height: int) -> Point:
    """What a model guesses to lie outside of the photo is not to be seen."""
    inside = 0 <= point.x <= width and 0 <= point.y <= height
    return point if inside else replace(point, visibility=0.0)


def _landmark(point: Point, width: int, height: int) -> dict[str, float]:
    """As parts of the photo; what lies outside is at the nearest border."""
    x, y = min(max(point.x / width, 0.0), 1.0), min(max(point.y / height, 0.0), 1.0)
    landmark = {"x": round(x, 4), "y": round(y, 4)}
    if point.z is not None:
        landmark["z"] = round(point.z / width, 4)
    return landmark | {"visibility": round(point.visibility, 4)}
