"""Embeddings of images and texts: not of the contract, but what search by meaning asks for."""

from __future__ import annotations

import math

from windmill.checking.calling import Answer, Skipped
from windmill.checking.target import CAPTION, Target

IMAGE, TEXT = "/embed/image", "/embed/text"
_ABSENT = (404, 405)
_BOTH = "clip"  # whose texts and images lie in one space
_LENGTH = 1e-2  # that a normalised vector's length may differ from 1
_EXPECTED = '{"status": "success", "embedding": [numbers], "dimension": so many}'


def embeddings(target: Target) -> str:
    """An image's and a text's (if it reads any) have one dimension, are finite, and of length 1."""
    image = target.form({"file": ("image", target.photo.jpeg)}, "a photo", IMAGE)
    if image.status in _ABSENT:
        raise Skipped(f"it has no {IMAGE}; search by meaning would ask there")
    if image.status == 200 and image.json(_EXPECTED).get("embedding", "") is None:
        raise Skipped("there is nothing in this photo that it embeds: --photo names another")
    size = _dimension(image)
    text = target.form({"text": CAPTION}, "field `text`", TEXT)
    if text.status in _ABSENT and target.service.name != _BOTH:
        return f"{size} numbers, of images only"
    if _dimension(text) != size:
        text.fail(f"{size} numbers, as of an image", f"{_dimension(text)}")
    return f"{size} numbers each"


def _dimension(answer: Answer) -> int:
    body = answer.json(_EXPECTED)
    vector = body.get("embedding")
    if answer.status != 200 or not isinstance(vector, list) or not vector:
        answer.fail(_EXPECTED)
    if not all(type(number) in (int, float) for number in vector):
        answer.fail(_EXPECTED, "not only numbers")
    if body.get("status") != "success" or body.get("dimension") != len(vector):
        answer.fail(
            _EXPECTED,
            f"status {body.get('status')}, dimension {body.get('dimension')}, {len(vector)} numbers",
        )
    length = math.hypot(*vector)
    if not abs(length - 1) <= _LENGTH:
        answer.fail("a vector of length 1, for cosines", f"length {length:.3f}")
    return len(vector)
