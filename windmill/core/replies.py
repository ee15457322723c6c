"""A service's JSON → `ServiceReply`: the one door through which foreign shapes come in.

The contract is `docs/service-api.md`; `tests/samples/` holds one recorded reply for each shape. Whatever else
comes is refused with the name of the field, and what passes, merging and voting can rely on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from windmill.catalog import Service
from windmill.core import classes, strict_json
from windmill.core.classes import Words
from windmill.core.geometry import FARTHEST
from windmill.errors import BadReply, ServiceRejected
from windmill.model import Box, Detection, Embedded, Mention, ServiceReply
from windmill.plain import line

Read = TypeVar("Read")

DEFAULT_CONFIDENCE = 0.75  # where a service gives none
MOST = 1000  # predictions of one reply, and emoji in its captions: detectors give 300, classifiers 1000
LONGEST_WORD = 400  # characters of a label: as a box's key it must fit into an index
LONGEST_EMOJI = 40  # code points; a family has eleven
LONGEST_TEXT = 100_000  # characters of a caption or of what was read
_MOST_NUMBERS = 10_000  # of an embedding
_LENGTH = 1e-2  # that the length of an embedding may differ from 1
_LONGEST_TIME = 1e6  # seconds
_VERSION_KEPT = 200  # characters
_BODY_SHOWN = 60  # characters of one that is not JSON that its error's message shows
_BODY_KEPT = 2000  # characters of a bad reply that are kept for a person to read

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of pairs: emoji that someone cut in two


class OffContractError(ValueError):
    """A field is not what the contract says; the text begins with its name."""


def parse(service: Service, body: bytes) -> ServiceReply:
    """The reply in a response's body.

    Raises `BadReply` when it is not JSON or not the contract, `ServiceRejected` when it says "error".
    """
    with _contract(service, body):
        return read(service, strict_json.loads(body))


def parse_score(service: Service, body: bytes) -> float:
    """The cosine similarity, −1 to 1, in a caption scorer's reply. Raises as `parse` does."""
    with _contract(service, body):
        data = _object(strict_json.loads(body))
        _refuse_error(service, data)
        return _cosine(data.get("similarity_score"))


def parse_embedding(service: Service, body: bytes) -> tuple[float, ...]:
    """The vector in a reply to `/embed/image` or `/embed/text`. Raises as `parse` does."""
    with _contract(service, body):
        data = _object(strict_json.loads(body))
        _refuse_error(service, data)
        return embedding(data.get("embedding"))


def parse_embedded(service: Service, body: bytes) -> Embedded:
    """What a reply to `/embed/image` says: its vector, and whose it is. Raises as `parse` does."""
    with _contract(service, body):
        data = _object(strict_json.loads(body))
        _refuse_error(service, data)
        info = (data.get("metadata") or {}).get("model_info")
        model = info if isinstance(info, dict) else {"name": info}
        return Embedded(
            vector=_unit(data) if "embedding" not in data or data["embedding"] is not None else (),
            model_name=line(model.get("name") or model.get("framework") or "", _VERSION_KEPT),
            model_version=line(model.get("version") or "", _VERSION_KEPT),
        )


def embedding(vector: Any) -> tuple[float, ...]:
    """A vector in decoded JSON. Raises `OffContractError`."""
    if not isinstance(vector, list) or not 0 < len(vector) <= _MOST_NUMBERS:
        raise OffContractError(f"embedding: expected a list of numbers, got {_shown(vector)}")
    return tuple(_number(value, f"embedding[{n}]", -1.0001, 1.0001) for n, value in enumerate(vector))


def _unit(data: dict[str, Any]) -> tuple[float, ...]:
    """An embedding as long as the reply says, and of length 1: only such can be compared."""
    vector = embedding(data.get("embedding"))
    dimension, length = data.get("dimension", len(vector)), math.hypot(*vector)
    if dimension != len(vector):
        raise OffContractError(f"dimension: {_shown(dimension)}, and the embedding has {len(vector)} numbers")
    if not abs(length - 1) <= _LENGTH:
        raise OffContractError(f"embedding: expected numbers of length 1, for cosines, got {length:.3f}")
    return vector


def read(service: Service, data: Any) -> ServiceReply:
    """The reply in decoded JSON, as it is kept in `results.data`.

    Raises `ServiceRejected` when it says "error", and `OffContractError` for what is off the contract.
    """
    data = _object(data)
    _refuse_error(service, data)
    words, boxes = classes.words(service.vocabulary), service.bbox_format
    predictions = _objects(data, "predictions")
    whole = _objects(data, "full_image", optional=True)
    texts = _each("predictions", predictions, lambda p: [_text(p, "text", LONGEST_TEXT)])
    return ServiceReply(
        service=service.name,
        service_types=service.service_types,
        knows=words.knows,
        detections=tuple(_each("predictions", predictions, lambda p: _detections(p, words, boxes))),
        full_image=tuple(_each("full_image", whole, lambda p: _detections(p, words, "xywh"))),
        mentions=_mentions(predictions),
        text=next((text for text in texts if text), ""),
        processing_time=_processing_time(data),
        found=len(predictions),
        model_version=version((data.get("metadata") or {}).get("model_info")),
    )


def beginning(body: bytes) -> str:
    """As much of a bad reply as is kept for a person to read."""
    return _UNSTORABLE.sub("�", body[: 4 * _BODY_KEPT].decode("utf-8", "replace")[:_BODY_KEPT])


@contextmanager
def _contract(service: Service, body: bytes) -> Iterator[None]:
    """Whatever does not fit becomes a `BadReply` that keeps the start of the body."""
    try:
        yield
    except strict_json.NotJsonError as exc:
        message = f"{service.name}: reply is {_instead(body, exc)}: is {service.url} the service's endpoint?"
        raise BadReply(message, service=service.name, body=beginning(body)) from exc
    except ValueError as exc:
        message = f"{service.name}: reply is off the contract: {exc}"
        raise BadReply(message, service=service.name, body=beginning(body)) from exc


def _instead(body: bytes, why: strict_json.NotJsonError) -> str:
    """What a body is that is not JSON, with as much of it as tells a cut reply from a stranger's."""
    if not body.strip():
        return "empty"
    what = "HTML" if body.lstrip()[:1] == b"<" else f"not JSON ({why})"
    return f"{what}, it begins with {line(beginning(body), _BODY_SHOWN)!r}"


def _refuse_error(service: Service, data: dict[str, Any]) -> None:
    if data.get("status") == "error":
        error = data.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        said = line(message, 500) if message else "no message"
        raise ServiceRejected(f"{service.name}: {said}", service=service.name)


# --- what a prediction holds -------------------------------------------------------------------------------


def _detections(prediction: dict[str, Any], words: Words, bbox_format: str) -> Iterator[Detection]:
    """What a prediction itself shows: nothing without an emoji or a box, or when it says it read no text."""
    emoji = _text(prediction, "emoji", LONGEST_EMOJI)
    label = _text(prediction, "label", LONGEST_WORD)
    confidence = _confidence(prediction.get("confidence"))
    box = _box(prediction.get("bbox"), bbox_format)
    _check_keypoints(prediction.get("keypoints"))
    if (emoji or box) and prediction.get("has_text") is not False:
        yield Detection(
            label=label,
            emoji=emoji,
            confidence=confidence,
            class_name=words.class_of(label, emoji),
            box=box,
            shiny=prediction.get("shiny") is True,
        )


def _mentions(predictions: list[dict[str, Any]]) -> tuple[Mention, ...]:
    mentions = tuple(_each("predictions", predictions, _mentions_of))
    if len(mentions) > MOST:
        raise OffContractError(f"emoji_mappings: {len(mentions)} of them, more than {MOST}")
    return mentions


def _mentions_of(prediction: dict[str, Any]) -> Iterable[Mention]:
    return _each("emoji_mappings", _objects(prediction, "emoji_mappings", optional=True), _mention)


def _mention(fields: dict[str, Any]) -> Iterator[Mention]:
    emoji, word = _text(fields, "emoji", LONGEST_EMOJI), _text(fields, "word", LONGEST_WORD)
    if emoji:
        yield Mention(emoji=emoji, word=word, shiny=fields.get("shiny") is True)


def _box(value: Any, bbox_format: str) -> Box | None:
    """A box in dict form, or in the list form that the service's catalog entry names; None without area."""
    if value is None:
        return None
    if isinstance(value, dict):
        x, y = _pixels(value.get("x"), "bbox.x"), _pixels(value.get("y"), "bbox.y")
        width = _pixels(value.get("width"), "bbox.width")
        height = _pixels(value.get("height"), "bbox.height")
    elif isinstance(value, list) and len(value) == 4:
        x, y, width, height = (_pixels(number, f"bbox[{n}]") for n, number in enumerate(value))
        if bbox_format == "xyxy":
            width, height = width - x, height - y
    else:
        raise OffContractError(f"bbox: expected x, y, width and height, or four numbers, got {_shown(value)}")
    if width < 0 or height < 0:
        raise OffContractError(
            f"bbox: a negative size, {width:g} × {height:g} (bbox_format is {bbox_format})"
        )
    return Box(x=x, y=y, width=width, height=height) if width and height else None


def _check_keypoints(points: Any) -> None:
    """Points by name are moved with their crop (`placing`), so each must be one; other forms stay."""
    if not isinstance(points, dict):
        return
    for name, point in points.items():
        where = f"keypoints.{line(name, 40)}"
        if isinstance(point, dict):
            pair = [point.get("x"), point.get("y")]
        elif isinstance(point, list) and len(point) >= 2:
            pair = point[:2]
        else:
            raise OffContractError(f"{where}: expected x and y, got {_shown(point)}")
        for number in pair:
            _pixels(number, where)


# --- values ------------------------------------------------------------------------------------------------


def _each(name: str, items: Iterable[Any], make: Callable[[Any], Iterable[Read]]) -> Iterator[Read]:
    """All that `make` makes of the items; an error names the item."""
    for n, item in enumerate(items):
        try:
            yield from make(item)
        except ValueError as exc:
            raise OffContractError(f"{name}[{n}].{exc}") from exc


def version(info: Any) -> str:
    """A model's name, version and hash in one line, as far as `model_info` says them."""
    if not isinstance(info, dict):
        return line(info or "", _VERSION_KEPT)
    name = info.get("name") or info.get("framework")
    parts = (name, info.get("version"), str(info.get("sha256") or "")[:12])
    return line(" ".join(str(part) for part in parts if part), _VERSION_KEPT)


def _object(value: Any, name: str = "the reply") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OffContractError(f"{name}: expected an object, got {_shown(value)}")
    return value


def _objects(fields: dict[str, Any], name: str, *, optional: bool = False) -> list[dict[str, Any]]:
    value = fields.get(name)
    if value is None and optional:
        return []
    if not isinstance(value, list):
        raise OffContractError(f"{name}: expected a list, got {_shown(value)}")
    if len(value) > MOST:
        raise OffContractError(f"{name}: {len(value)} of them, more than {MOST}")
    return [_object(one, f"{name}[{n}]") for n, one in enumerate(value)]


def _text(fields: dict[str, Any], name: str, most: int) -> str:
    """Text, "" where there is none; what no database can hold is � in it."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise OffContractError(f"{name}: expected text, got {_shown(value)}")
    if len(value) > most:
        raise OffContractError(f"{name}: {len(value)} characters, more than {most}")
    return value if value.isprintable() else _UNSTORABLE.sub("�", value)


def _processing_time(data: dict[str, Any]) -> float:
    metadata = data.get("metadata")
    seconds = None if metadata is None else _object(metadata, "metadata").get("processing_time")
    return 0.0 if seconds is None else _number(seconds, "metadata.processing_time", 0, _LONGEST_TIME)


def _confidence(value: Any) -> float:
    return DEFAULT_CONFIDENCE if value is None else _number(value, "confidence", 0, 1)


def _cosine(value: Any) -> float:
    cosine = _number(value, "similarity_score (a cosine)", -1.0001, 1.0001)
    return max(-1.0, min(1.0, cosine))


def _pixels(value: Any, name: str) -> float:
    return _number(value, name, -FARTHEST, FARTHEST)


def _number(value: Any, name: str, least: float, most: float) -> float:
    if type(value) is not float and type(value) is not int:
        raise OffContractError(f"{name}: expected a number, got {_shown(value)}")
    if not least <= value <= most:
        raise OffContractError(f"{name}: {_shown(value)} is not from {least:g} to {most:g}")
    return float(value)


def _shown(value: Any) -> str:
    """What came instead, in a few words."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, str):
        return f"the text {line(value, 40)!r}"
    return "nothing" if value is None else line(value, 40)
