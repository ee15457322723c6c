"""What a prediction holds, by the service's name: the table of `docs/service-api.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from windmill.catalog import Service
from windmill.checking.calling import Answer, Skipped
from windmill.checking.target import Target
from windmill.plain import line

_HEX = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Field:
    """A value in an object, by its path (`primary.hex`): what it is in words, and whether it is."""

    path: str
    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The fields of each prediction, of each entry of `full_image` (None: has none), and of the reply."""

    each: Sequence[Field] = ()
    whole: Sequence[Field] | None = None
    reply: Sequence[Field] = ()


def shape(target: Target) -> str:
    """Each prediction holds what its service's name promises. Raises `Failed` and `Skipped`."""
    promise = promised(target.service)
    if promise is None:
        raise Skipped(f"nothing is promised of a service called {target.service.name}")
    check(target.service, target.reply)
    data = target.reply.json()
    if promise.each and not data["predictions"] and not data.get("full_image"):
        raise Skipped("it sees nothing in the photo: name one with --photo where it does")
    return "as promised"


def check(service: Service, answer: Answer) -> None:
    """Raises `Failed` for the first field that is not what the service's name promises."""
    promise = promised(service)
    for where, broken, value in _broken(promise, answer.json()) if promise else ():
        answer.fail(f"{where}{broken.path}: {broken.words}", line(repr(value), 100))


def promised(service: Service) -> Promise | None:
    """By name; any other detector's is that of a detector."""
    named = PROMISES.get(service.name)
    return named or (Promise(each=_DETECTION) if "spatial" in service.service_types else None)


def has_boxes(service: Service) -> bool:
    """Whether its replies may hold boxes; of a service that nothing is promised of, nobody knows."""
    promise = promised(service)
    return promise is None or any(one in promise.each for one in (_BBOX, _CORNERS, _REGIONS))


def _broken(promise: Promise, data: Mapping[str, Any]) -> Iterator[tuple[str, Field, Any]]:
    yield from _missing("", promise.reply, data)
    for n, prediction in enumerate(data["predictions"] if promise.each else ()):
        yield from _missing(f"predictions[{n}].", promise.each, prediction)
    if promise.whole is not None:
        for n, entry in enumerate(data.get("full_image") or []):
            yield from _missing(f"full_image[{n}].", promise.whole, entry)


def _missing(where: str, fields: Sequence[Field], values: Any) -> Iterator[tuple[str, Field, Any]]:
    for field in fields:
        value = _value(values, field.path)
        if not field.holds(value):
            yield where, field, value


def _value(values: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _within(least: float, most: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _every(fields: Sequence[Field], least: int = 0) -> Callable[[Any], bool]:
    """A list of at least so many objects with these fields."""
    return lambda value: (
        isinstance(value, list)
        and len(value) >= least
        and all(not list(_missing("", fields, one)) for one in value)
    )


def _named(fields: Sequence[Field]) -> Callable[[Any], bool]:
    """An object of objects with these fields, by name."""
    return lambda value: isinstance(value, dict) and bool(value) and _every(fields)([*value.values()])


def _angles(value: Any) -> bool:
    return isinstance(value, dict) and all(_within(-360, 360)(angle) for angle in value.values())


def _box(value: Any) -> bool:
    """Its numbers are the parser's affair."""
    return isinstance(value, dict | list) and bool(value)


_CONFIDENCE = Field("confidence", "a number from 0 to 1", _within(0, 1))
_LABEL = Field("label", "text", _filled)
_EMOJI = Field("emoji", 'text ("" where there is none)', _text)
_BBOX = Field("bbox", "an object with x, y, width and height, or four numbers", _box)
_CORNERS = Field("bbox", "[x1, y1, x2, y2]", lambda value: isinstance(value, list) and len(value) == 4)
_DETECTION = (_LABEL, _CONFIDENCE, _EMOJI, _BBOX)
_MAPPINGS = Field(
    "emoji_mappings",
    'a list of {"emoji": …, "word": …}',
    _every((Field("emoji", "text", _filled), Field("word", "text", _filled))),
)
_CAPTION = (Field("text", "a sentence", _filled), _MAPPINGS)
_COLOUR = (
    Field("hex", "#rrggbb", lambda value: _filled(value) and bool(_HEX.fullmatch(value))),
    Field("copic", "text", _filled),
    Field("prismacolor", "text", _filled),
    Field("temperature", "text", _filled),
)
_REGION = (Field("text", "text", _text), _CONFIDENCE, _BBOX)
_REGIONS = Field("text_regions", "a list of text, confidence and bbox", _every(_REGION))
_LANDMARK = (
    Field("x", "a number from 0 to 1", _within(0, 1)),
    Field("y", "a number from 0 to 1", _within(0, 1)),
    Field(
        "z",
        "a number, where the model knows of depth",
        lambda value: value is None or _within(-10, 10)(value),
    ),
    Field("visibility", "a number from 0 to 1", _within(0, 1)),
)
_EMBEDDING = Field("embedding", "numbers", lambda value: isinstance(value, list) and bool(value))
_FULL_IMAGE = Field("full_image", "a list, for the whole image", lambda value: isinstance(value, list))
_CLASSIFYING = Promise(each=_DETECTION, whole=(_LABEL, _CONFIDENCE, _EMOJI), reply=(_FULL_IMAGE,))
_CAPTIONING = Promise(
    each=_CAPTION, reply=(Field("predictions", "at least one caption", lambda value: bool(value)),)
)

POSE = Promise(
    each=(
        Field("landmarks", "points by name, x and y from 0 to 1 of the crop", _named(_LANDMARK)),
        Field("pose_analysis.joint_angles", "angles by name", _angles),
    )
)

PROMISES: Mapping[str, Promise] = {
    "blip": _CAPTIONING,
    "ollama": _CAPTIONING,
    "clip": _CLASSIFYING,
    "xception": _CLASSIFYING,
    "inception_v3": _CLASSIFYING,
    "colors": Promise(
        each=(
            *(Field(f"primary.{one.path}", one.words, one.holds) for one in _COLOUR),
            Field("palette.colors", "a list of colours like the primary one", _every(_COLOUR, 1)),
            Field("emoji", "nothing: colours never vote", lambda value: not value),
        )
    ),
    "metadata": Promise(
        each=(
            Field("dimensions.width", "pixels", _within(1, 1e6)),
            Field("dimensions.height", "pixels", _within(1, 1e6)),
            Field("file", "an object", lambda value: isinstance(value, dict)),
        )
    ),
    "ocr": Promise(
        each=(
            Field("text", "text", _text),
            Field("emoji", "💬", lambda value: value == "💬"),
            Field("has_text", "true or false", _truth),
            _REGIONS,
            _MAPPINGS,
        )
    ),
    "nsfw2": Promise(
        each=(
            Field("nsfw", "true or false", _truth),
            _CONFIDENCE,
            Field("emoji", '🔞 or ""', lambda value: value in ("🔞", "")),
        )
    ),
    "nudenet": Promise(
        each=(
            _LABEL,
            _CONFIDENCE,
            _EMOJI,
            _CORNERS,
        )
    ),
    "face": Promise(
        each=(
            Field("label", "face", lambda value: value == "face"),
            Field("emoji", "🙂", lambda value: value == "🙂"),
            _CONFIDENCE,
            _BBOX,
            Field("keypoints", "points by name", lambda value: isinstance(value, dict) and bool(value)),
        )
    ),
    "pose": POSE,
    "movenet": POSE,
    "label_embedding": Promise(
        reply=(
            _EMBEDDING,
            Field("labels", "a list of label and confidence", _every((_LABEL, _CONFIDENCE))),
        )
    ),
    "resnet50": Promise(reply=(_EMBEDDING,)),
    "face_embedding": Promise(
        each=(
            Field("label", "face", lambda value: value == "face"),
            Field("emoji", "nothing: it does not vote", lambda value: not value),
            _CONFIDENCE,
            _BBOX,
            _EMBEDDING,
        )
    ),
    "caption_score": Promise(
        reply=(Field("similarity_score", "a cosine, from -1 to 1", _within(-1.0001, 1.0001)),)
    ),
}
