"""What the fuzz tests draw from: any JSON, recorded replies that someone has tampered with, any bytes."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from windmill import catalog

# How long it looks for what fails: FUZZ_EXAMPLES=20000 pytest tests/fuzz takes minutes.
fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SAMPLES = Path(__file__).parents[1] / "samples"
RECORDED = {path.stem: json.loads(path.read_bytes()) for path in sorted(SAMPLES.glob("*.json"))}
# The keys of all recorded replies, of jobs, and of what they hold.
WORDS = [*sorted(set(re.findall(r'"(\w+)":', json.dumps(RECORDED)))), "v", "id", "path", "url", "box", "key"]

services = st.sampled_from([catalog.facts(name) for name in catalog.BUILT_IN])
_numbers = [0, -0.0, 0.5, 1, 1.0000001, -1, 5e-324, 1e-200, 1e9, 1e10, 1e308, -1e308, 2**63, 10**310]
_infinite = [float("nan"), float("inf"), True, None]
_texts = [
    "",
    "\0",
    "\ud800",
    "\udc00\ud83d",
    "\u202e",
    "a\x1b[2J\n",
    "🧑",
    "👩🏽\u200d🦰",
    "\ufe0f",
    "x" * 500,
]
_nested = [[], {}, [[]], [0, 0, 1, 1], {"x": 0, "y": 0, "width": 1, "height": 1}]
odd = st.sampled_from([*_numbers, *_infinite, *_texts, *_nested])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | odd
names = st.sampled_from(WORDS) | st.text(max_size=4)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def tampered(draw: st.DrawFn) -> Any:
    """A recorded reply in which a few places hold something else, or nothing, or more of the same."""
    reply = copy.deepcopy(draw(st.sampled_from(list(RECORDED.values()))))
    for _ in range(draw(st.integers(0, 4))):
        place, key = draw(st.sampled_from(list(_places(reply))))
        match draw(st.sampled_from(["other", "other", "gone", "twice"])):
            case "other":
                place[key] = copy.deepcopy(draw(scalars | json_values))
            case "gone":
                del place[key]
            case "twice" if isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
        if not reply:
            break
    return reply


def _places(value: Any) -> Any:
    """Every (container, key) of a JSON value."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which some were changed, lost or put in between."""
    body = bytearray(draw(bodies))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 3))] = draw(st.sampled_from(_PIECES))
    return bytes(body)


_PIECES = [
    b"",
    b"0",
    b"-",
    b"1e999",
    b"1e-9999",
    b"9" * 400,
    b"NaN",
    b"true",
    b"null",
    b"{}",
    b"[]",
    b"[" * 2000,
]
_PIECES += [b'"', b'"\\ud800"', b"\\u0000", b"\\", b"\xff", b"\xed\xa0\x80", b"}", b"]", b",", b":", b" "]

# Detectors that agree, on few objects in odd places: what merging and voting have to cope with.
_far = st.sampled_from([0, 0.04, 1, 7.5, 100, 5e-324, 1e-200, 1e9, 1e308])
_boxes = st.fixed_dictionaries({"x": _far, "y": _far, "width": _far, "height": _far})
_seen = st.fixed_dictionaries(
    {
        "emoji": st.sampled_from(["🧑", "👩🏽", "", "\ufe0f"]),
        "label": st.sampled_from(["cat", "Cat", "", "ﬃ" * 400]),
    },
    optional={"confidence": st.sampled_from([0, 0.3, 1]) | st.floats(0, 1), "bbox": _boxes},
)
agreeing = st.fixed_dictionaries({"predictions": st.lists(_seen, max_size=4)})

reply_values = tampered() | json_values | agreeing
reply_bodies = st.builds(lambda value: json.dumps(value).encode(), reply_values) | st.builds(
    lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), reply_values
)
bodies = reply_bodies | damaged(reply_bodies) | st.binary(max_size=200)
