"""JSON from outside, read more strictly than Python does: what passes, PostgreSQL and other readers hold too.

Python takes NaN, 1e400 and the last of two equal keys; jsonb refuses numbers with ten thousand digits, and
another reader may take the first key.
"""

from __future__ import annotations

import codecs
import json
import math
from typing import Any

from windmill.plain import line

DEEPEST = 100  # levels of lists and objects
_DIGITS = 1000  # characters of a number
_USUAL = 30  # characters of a number whose exponent need not be looked at, unless it is 0
_LONGEST_WHOLE = 300  # digits of a whole number; a float has no more before its point
_EXPONENT = 5  # characters of its exponent; jsonb's numeric ends at 1e-16383 and 1e131071


class NotJsonError(ValueError):
    """Not JSON at all, in UTF-8."""


def loads(body: bytes) -> Any:
    """The value in `body`. Raises `NotJsonError`, or ValueError that says what is not accepted."""
    try:
        value = _DECODER.decode(body.decode())
    except (UnicodeDecodeError, json.JSONDecodeError) as exc:
        marked = body.startswith(codecs.BOM_UTF8)  # RFC 8259 forbids it, and no two readers agree on it
        raise NotJsonError("a byte order mark comes first" if marked else line(exc, 200)) from exc
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deeper(value, DEEPEST):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _real(text: str) -> float:
    number = float(text)
    exponent = "" if number and len(text) < _USUAL else text.lower().partition("e")[2]
    if math.isinf(number) or len(text) > _DIGITS or len(exponent) > _EXPONENT:
        raise ValueError(f"{line(text, 40)} is not a number that a database holds")
    return number


def _whole(text: str) -> int:
    if len(text) > _LONGEST_WHOLE:
        raise ValueError(f"{line(text, 40)} is not a number that a database holds")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{line(twice, 40)}: stands in one object twice")
    return made


_DECODER = json.JSONDecoder(
    parse_constant=_constant, parse_float=_real, parse_int=_whole, object_pairs_hook=_object
)  # made once: it costs as much as decoding a small message


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether `value` has more than `levels` levels; without recursion, which would end before it does."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not layer:
            return False
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(layer)
