"""A service's JSON → `ServiceReply`: the one door through which foreign shapes come in.

The contract is `docs/service-api.md`; `tests/samples/` holds one recorded reply for each shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from windmill.catalog import Service
from windmill.errors import BadReply, ServiceRejected
from windmill.model import Box, Detection, Mention, ServiceReply

DEFAULT_CONFIDENCE = 0.75  # where a service gives none
_BODY_KEPT = 2000  # characters of a bad reply that are kept for a person to read


def parse(service: Service, body: bytes) -> ServiceReply:
    """The reply in a response's body.

    Raises `BadReply` when it is not JSON or not the contract, `ServiceRejected` when it says "error".
    """
    with _contract(service, body):
        return read(service, _decode(service, body))


def parse_score(service: Service, body: bytes) -> float:
    """The cosine similarity, −1 to 1, in a caption scorer's reply. Raises as `parse` does."""
    with _contract(service, body):
        data = _decode(service, body)
        _refuse_error(service, data)
        return _cosine(data["similarity_score"])


def read(service: Service, data: Any) -> ServiceReply:
    """The reply in decoded JSON, as it is kept in `results.data`.

    Raises `ServiceRejected` when it says "error", and ValueError, TypeError or KeyError off the contract.
    """
    if not isinstance(data, dict):
        raise TypeError("expected a JSON object")
    _refuse_error(service, data)
    predictions = data["predictions"]
    if not isinstance(predictions, list):
        raise TypeError("predictions: expected a list")
    return ServiceReply(
        service=service.name,
        service_types=service.service_types,
        detections=tuple(d for p in predictions for d in _detections(p, service.bbox_format)),
        full_image=tuple(d for p in data.get("full_image") or () for d in _detections(p, "xywh")),
        mentions=tuple(m for p in predictions for m in _mentions(p)),
        text=next((str(p["text"]) for p in predictions if p.get("text")), ""),
        processing_time=_finite((data.get("metadata") or {}).get("processing_time") or 0.0),
        found=len(predictions),
    )


@contextmanager
def _contract(service: Service, body: bytes) -> Iterator[None]:
    """Whatever does not fit becomes a `BadReply` that keeps the start of the body."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        message = f"{service.name}: reply is off the contract: {exc!r}"
        raise BadReply(message, service=service.name, body=beginning(body)) from exc


def _decode(service: Service, body: bytes) -> Any:
    try:
        return json.loads(body.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        what = "HTML" if body.lstrip()[:1] == b"<" else "not JSON" if body.strip() else "empty"
        raise BadReply(
            f"{service.name}: reply is {what}: is {service.url} the service's endpoint?",
            service=service.name,
            body=beginning(body),
        ) from exc


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _refuse_error(service: Service, data: Any) -> None:
    if data.get("status") == "error":
        error = data.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        raise ServiceRejected(f"{service.name}: {message or 'no message'}", service=service.name)


def _detections(prediction: Any, bbox_format: str) -> Iterator[Detection]:
    """What a prediction itself shows: nothing without an emoji or a box, or when it says it read no text."""
    emoji = _text(prediction.get("emoji") or "")
    box = _box(prediction.get("bbox"), bbox_format)
    if (emoji or box) and prediction.get("has_text") is not False:
        yield Detection(
            label=_text(prediction.get("label") or ""),
            emoji=emoji,
            confidence=_confidence(prediction.get("confidence")),
            box=box,
            shiny=prediction.get("shiny") is True,
        )


def _mentions(prediction: Any) -> Iterator[Mention]:
    for mapping in prediction.get("emoji_mappings") or ():
        if mapping.get("emoji"):
            word, shiny = _text(mapping.get("word") or ""), mapping.get("shiny") is True
            yield Mention(emoji=_text(mapping["emoji"]), word=word, shiny=shiny)


def _box(value: Any, bbox_format: str) -> Box | None:
    """A box in dict form, or in the list form that the service's catalog entry names."""
    if value is None:
        return None
    if isinstance(value, dict):
        x, y, width, height = (_finite(value[key]) for key in ("x", "y", "width", "height"))
    else:
        x, y, width, height = map(_finite, value)
        if bbox_format == "xyxy":
            width, height = width - x, height - y
    if width < 0 or height < 0:
        raise ValueError(f"bbox {value} has a negative size (bbox_format is {bbox_format})")
    return Box(x=x, y=y, width=width, height=height) if width and height else None


def _confidence(value: Any) -> float:
    confidence = DEFAULT_CONFIDENCE if value is None else _finite(value)
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence {value} is not from 0 to 1")
    return confidence


def _cosine(value: Any) -> float:
    cosine = _finite(value)
    if not -1.0001 <= cosine <= 1.0001:
        raise ValueError(f"similarity_score {value} is not a cosine")
    return max(-1.0, min(1.0, cosine))


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def beginning(body: bytes) -> str:
    """As much of a bad reply as is kept for a person to read."""
    return body[: 4 * _BODY_KEPT].decode("utf-8", "replace")[:_BODY_KEPT]
