"""BlazePose: a detector finds people, a network 33 points on each (Bazarevsky et al. 2020, arXiv:2006.10204).

The steps and their numbers are those of MediaPipe's graphs pose_detection and pose_landmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from windmill.services import body, onnx_session
from windmill.services.base import Info, Model, Photo, Pixels, Prediction, Reply, Task, analyzer
from windmill.services.body import Point
from windmill.services.resizing import within
from windmill.services.weights import Weights

_LONGEST = 640  # pixels; larger photos are reduced first
_DETECTED, _LOOKED_AT = 224, 256  # pixels a side that the two networks see
_STRIDES = ((8, 2), (16, 2), (32, 6))  # of the detector's cells, and the anchors in each
_FOUND, _OVERLAP, _PRESENT = 0.5, 0.3, 0.5
_VISIBLE = 0.5
_ENLARGED = 1.25  # a person's square, beyond the circle that the detector draws around the body
_MOST = 10  # people

NAMES = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye"),
    *("right_eye_outer", "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder"),
    *("right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky"),
    *("right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)

Floats = npt.NDArray[np.float32]


def load(weights: Weights) -> Model:
    """Photos are looked at with up to 640 pixels a side, up to ten people on each."""
    return analyzer(Info.of(weights, "ONNX Runtime", "BlazePose full"), BlazePose(weights))


@dataclass(frozen=True, slots=True)
class Person:
    """33 × x, y, z, visibility in pixels of the reduced photo, and how sure it is that somebody is there."""

    points: Floats
    presence: float


class BlazePose(Task[Photo, Pixels, list[Person]]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        detector, landmarks = "package/models/blazepose-detector.json", "package/models/blazepose-full.json"
        self._detector = onnx_session.converted(weights, detector, ["Identity:0"])
        self._landmarks = onnx_session.converted(weights, landmarks, ["Identity_2:0", "Identity_3:0"])

    def preprocess(self, asked: Photo) -> Pixels:
        return within(asked.pixels, _LONGEST)[0]

    def predict(self, inputs: Sequence[Pixels]) -> Sequence[list[Person]]:
        return [self._people(one) for one in inputs]

    def postprocess(self, given: Pixels, output: list[Person]) -> Reply:
        return {"predictions": [_prediction(person, given) for person in output]}

    def _people(self, pixels: Pixels) -> list[Person]:
        height, width = pixels.shape[:2]
        side = max(height, width)
        whole = square((width / 2, height / 2), side, 0.0, _DETECTED)
        seen = _cut(pixels, whole, _DETECTED).astype(np.float32) / 127.5 - 1
        (raw,) = self._detector.run(None, {"input": seen[None]})
        people = [self._person(pixels, center, top) for center, top in found(raw[0], _inverse(whole))]
        return sorted((one for one in people if one.presence > _PRESENT), key=lambda one: -one.presence)

    def _person(self, pixels: Pixels, center: Floats, top: Floats) -> Person:
        """`center`, `top`: the hips' middle, and a point of the circle around the body, above the head."""
        upwards = float(np.pi / 2 - np.arctan2(center[1] - top[1], top[0] - center[0]))
        side = 2 * _ENLARGED * float(np.hypot(*(top - center)))
        onto = square((float(center[0]), float(center[1])), max(side, 1.0), upwards, _LOOKED_AT)
        seen = _cut(pixels, onto, _LOOKED_AT).astype(np.float32) / 255
        raw, presence = self._landmarks.run(None, {"input_1": seen[None]})
        return Person(placed(raw.reshape(-1, 5)[: len(NAMES)], onto), float(presence.reshape(-1)[0]))


def square(center: tuple[float, float], side: float, upwards: float, size: int) -> Floats:
    """The affine transform (2 × 3) of a square of a photo onto size × size pixels.

    `side`: of the square, in pixels; `upwards`: by how many radians it is turned clockwise.
    """
    scale, cos, sin = size / side, np.cos(upwards), np.sin(upwards)
    turned = scale * np.array([[cos, sin], [-sin, cos]])
    moved = size / 2 - turned @ np.array(center)
    return np.column_stack([turned, moved]).astype(np.float32)


def _cut(pixels: Pixels, onto: Floats, size: int) -> Pixels:
    return np.asarray(cv2.warpAffine(pixels, onto, (size, size)), np.uint8)  # what is outside is black


def found(raw: Floats, back: Floats) -> list[tuple[Floats, Floats]]:
    """People as two points each, in pixels of the photo: the middle of the hips, and one above the head.

    `raw`: anchors × (score, x, y, width, height, and four points, all from the anchor's center, in pixels of
    the detector's picture); `back`: the affine transform from there to the photo.
    """
    scores = _sigmoid(raw[:, 0])
    centers = raw[:, 1:3] + _anchors()
    corners = np.concatenate([centers - raw[:, 3:5] / 2, raw[:, 3:5]], axis=1)
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), _FOUND, _OVERLAP)
    best = np.array(kept, int).reshape(-1)[:_MOST]
    points = raw[best, 5:9].reshape(-1, 2, 2) + _anchors()[best, None]
    return [(center, top) for center, top in _moved(points, back)]


def placed(raw: Floats, onto: Floats) -> Floats:
    """n × (x, y, z, visibility, presence) on a cut-out, as n × (x, y, z, visibility) in pixels."""
    back = _inverse(onto)
    depth = raw[:, 2] * np.hypot(*back[:, 0])
    where = _moved(raw[:, :2], back)
    return np.column_stack([where, depth, _sigmoid(raw[:, 3])]).astype(np.float32)


def _moved(points: Floats, transform: Floats) -> Floats:
    return np.asarray(points @ transform[:, :2].T + transform[:, 2], np.float32)


def _inverse(transform: Floats) -> Floats:
    return np.asarray(cv2.invertAffineTransform(transform), np.float32)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


@cache
def _anchors() -> Floats:
    """The center of each anchor, x and y in pixels of the detector's picture."""
    rows = []
    for stride, each in _STRIDES:
        along = (np.arange(_DETECTED // stride) + 0.5) * stride
        y, x = np.meshgrid(along, along, indexing="ij")
        rows.append(np.stack([x, y], axis=2).reshape(-1, 2).repeat(each, axis=0))
    return np.concatenate(rows).astype(np.float32)


def _prediction(person: Person, photo: Pixels) -> Prediction:
    points = {
        name: Point(x=float(x), y=float(y), z=float(z), visibility=float(seen))
        for name, (x, y, z, seen) in zip(NAMES, person.points, strict=True)
    }
    return body.prediction(points, photo.shape[1], photo.shape[0], presence=person.presence, visible=_VISIBLE)
