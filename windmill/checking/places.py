"""Boxes lie where the things are: inside the image, in its pixels, however the camera was held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from windmill.catalog import SCORER
from windmill.checking import pictures, shapes
from windmill.checking.calling import Answer, Failed, Skipped
from windmill.checking.target import Target
from windmill.core import replies
from windmill.core.geometry import iou
from windmill.core.replies import OffContractError
from windmill.model import Box

_EDGE = 1.5  # pixels that rounding may take a box over the edge
_SURE = 0.5  # confidence from which a thing is found again in the same picture stored otherwise
_SAME = 0.6  # IoU of its two boxes
_DRIFT = 0.1  # of a landmark, of the picture's size; of a cosine
_NOTHING = "it sees nothing with a box in the photo: name one with --photo where it does"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What of a reply says where things are, or changes when the picture is looked at askew."""

    boxes: Sequence[tuple[str, float, Box]] = ()  # label, confidence, place
    landmarks: Sequence[Mapping[str, tuple[float, float]]] = ()
    size: tuple[int, int] | None = None
    score: float | None = None
    labels: Sequence[str] = field(default_factory=tuple)  # of the whole image, best first


def inside(target: Target) -> str:
    """No box leaves the picture. Raises `Failed` and `Skipped`."""
    width, height = target.photo.picture.size
    boxes = _boxes(target)
    for label, _, box in boxes:
        least, right, low = min(box.x, box.y), box.x + box.width, box.y + box.height
        if least < -_EDGE or right > width + _EDGE or low > height + _EDGE:
            target.reply.fail(f"boxes inside of {width}×{height} pixels", f"{label or 'a box'} at {_at(box)}")
    return f"{len(boxes)} boxes"


def scaled(target: Target) -> str:
    """Twice the pixels, twice the box: they count in the image's pixels, not in the model's input's."""
    before = _boxes(target, _SURE)
    answer = target.upload(target.photo.twice, "the photo with twice the pixels each way")
    target.check_reply(answer)
    larger = [
        (label, sure, Box(x=2 * box.x, y=2 * box.y, width=2 * box.width, height=2 * box.height))
        for label, sure, box in before
    ]
    strongest = max(larger, key=lambda one: one[1])
    _find(answer, strongest, _sight(target, answer).boxes)
    return "twice as large in an image twice as large"


def turned(target: Target) -> str:
    """All eight EXIF orientations are one picture. Raises `Failed` and `Skipped`."""
    answers = {}
    for orientation in pictures.TURNED:
        data = target.photo.lying(orientation)
        answers[orientation] = answer = target.upload(data, f"the photo in EXIF orientation {orientation}")
        target.check_reply(answer)
    upright = _sight(target, answers[1])
    if not _comparable(upright):
        raise Skipped(_NOTHING if shapes.has_boxes(target.service) else "its replies say nothing of places")
    for orientation in [*pictures.TURNED][1:]:
        answer = answers[orientation]
        _compare(answer, upright, _sight(target, answer))
    return "all eight the same"


def _boxes(target: Target, least: float = 0.0) -> Sequence[tuple[str, float, Box]]:
    """Those in the photo of at least this confidence. Raises `Skipped` where there are none."""
    if not shapes.has_boxes(target.service):
        raise Skipped("its replies hold no boxes")
    boxes = [one for one in _sight(target, target.reply).boxes if one[1] >= least]
    if not boxes:
        raise Skipped(_NOTHING)
    return boxes


def _comparable(sight: Sight) -> bool:
    sure = any(confidence >= _SURE for _, confidence, _ in sight.boxes)
    return sure or bool(sight.landmarks or sight.size or sight.labels or sight.score is not None)


def _compare(answer: Answer, upright: Sight, other: Sight) -> None:
    if other.size != upright.size:
        answer.fail(f"the upright size {upright.size}, as in orientation 1", str(other.size))
    for one in upright.boxes:
        if one[1] >= _SURE:
            _find(answer, one, other.boxes)
    if upright.labels and upright.labels[0] not in other.labels[:3]:
        answer.fail(f"{upright.labels[0]!r}, as in orientation 1", f"{list(other.labels[:3])}")
    if upright.score is not None and abs(upright.score - (other.score or 0.0)) > _DRIFT:
        answer.fail(f"about {upright.score:.3f}, as in orientation 1", f"{other.score}")
    if upright.landmarks and not any(_near(upright.landmarks[0], pose) for pose in other.landmarks):
        answer.fail("the landmarks of orientation 1", "others")


def _near(first: Mapping[str, tuple[float, float]], second: Mapping[str, tuple[float, float]]) -> bool:
    """Whether half of the landmarks, at least, are where they were: the hidden ones are guesses."""
    close = [
        name in second and max(abs(x - second[name][0]), abs(y - second[name][1])) < _DRIFT
        for name, (x, y) in first.items()
    ]
    return sum(close) * 2 >= len(close)


def _find(answer: Answer, wanted: tuple[str, float, Box], found: Sequence[tuple[str, float, Box]]) -> None:
    label, _, box = wanted
    if not any(other == label and iou(box, place) >= _SAME for other, _, place in found):
        there = ", ".join(f"{other} at {_at(place)}" for other, _, place in found[:3]) or "nothing there"
        answer.fail(f"{label} at {_at(box)}, within an IoU of {_SAME}", there)


def _at(box: Box) -> str:
    return f"{box.x:.0f},{box.y:.0f} {box.width:.0f}×{box.height:.0f}"


def _sight(target: Target, answer: Answer) -> Sight:
    """What a worker's reply says of places. Raises `Skipped` where its shape is not as promised."""
    service, data = target.service, answer.json()
    try:
        shapes.check(service, answer)
        if service.name == SCORER:
            return Sight(score=data["similarity_score"])
        predictions = data["predictions"]
        regions = (
            [one for each in predictions for one in each["text_regions"]] if service.name == "ocr" else []
        )
        reply = replies.read(service, {**data, "predictions": [*predictions, *regions]})
    except Failed:
        raise Skipped("its reply is not as promised: see the check `shape`") from None
    except OffContractError as exc:
        answer.fail("boxes of text that are boxes", str(exc))
    return Sight(
        boxes=tuple((one.label, one.confidence, one.box) for one in reply.detections if one.box),
        landmarks=tuple(_points(one) for one in predictions)
        if shapes.promised(service) is shapes.POSE
        else (),
        size=_size(predictions) if service.name == "metadata" else None,
        labels=tuple(one.label for one in reply.full_image),
    )


def _points(pose: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
    return {name: (point["x"], point["y"]) for name, point in pose["landmarks"].items()}


def _size(predictions: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    sizes = [(one["dimensions"]["width"], one["dimensions"]["height"]) for one in predictions]
    return sizes[0] if sizes else None
