"""A body's points by name, and the angles of its joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    return {
        "landmarks": {name: _landmark(point, width, height) for name, point in points.items()},
        "pose_analysis": {"joint_angles": joint_angles(points, visible)},
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


def _landmark(point: Point, width: int, height: int) -> dict[str, float]:
    """As parts of the photo; what a model guesses to lie outside is not to be seen, at the nearest border."""
    x, y = point.x / width, point.y / height
    inside = 0 <= x <= 1 and 0 <= y <= 1
    landmark = {"x": round(min(max(x, 0.0), 1.0), 4), "y": round(min(max(y, 0.0), 1.0), 4)}
    if point.z is not None:
        landmark["z"] = round(point.z / width, 4)
    return landmark | {"visibility": round(point.visibility, 4) if inside else 0.0}
