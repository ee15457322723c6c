import json

import pytest

from windmill.core import wire
from windmill.errors import MessageError
from windmill.model import Box, BoxRef, Caption, Image, Job

GOOD = {"v": 1, "image": {"id": 7, "path": "a.jpg"}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"v": 2}, "version 2"),
        ({"image": {"id": 7}}, "path or a url"),
        ({"image": {"id": "7", "path": "a"}}, "whole number"),
        ({"image": {"id": True, "path": "a"}}, "whole number"),
        ({"image": {"id": 7, "path": 1}}, "expected text"),
        ({"image": {"id": 7, "path": "a", "as_is": 0.5}}, "whole number"),
        ({"image": None}, "not a job"),
        ({"box": {"key": "k", "bbox": [1, 2, 3]}}, "not a job"),
        ({"box": {"bbox": [1, 2, 3, 4]}}, "key"),
        ({"caption": {"service": "blip"}}, "text"),
        ({"image": {"id": 2**63, "path": "a"}}, "no id: too large"),
        ({"image": {"id": 7, "path": "\ud800"}}, "no database holds"),
        ({"image": {"id": 7, "path": "a\0"}}, "no database holds"),
        ({"box": {"key": "k", "bbox": [0, 0, 1e10, 1]}}, "pixels are in no image"),
        ({"box": {"key": "k", "bbox": [0, 0, -1, 1]}}, "negative size"),
        ({"v": "\x1b[2J"}, r"message version '\\x1b\[2J': this worker knows"),
    ],
)
def test_says_what_is_wrong(change, why):
    with pytest.raises(MessageError, match=why):
        wire.decode(json.dumps(GOOD | change).encode())


def test_a_key_that_stands_there_twice_is_no_job():
    with pytest.raises(MessageError, match="v: stands in one object twice"):
        wire.decode(b'{"v": 1, "v": 1, "image": {"id": 7, "path": "a"}}')


def test_deep_nesting_is_a_message_error():
    with pytest.raises(MessageError):
        wire.decode(b"[" * 100_000)


def test_what_it_writes_is_what_is_documented():
    job = Job(
        image=Image(image_id=7, path="ä.jpg", as_is=900),
        box=BoxRef(key="k", box=Box(x=1, y=2, width=3, height=4)),
        caption=Caption(service="blip", text="a cat"),
    )
    assert json.loads(wire.encode(job)) == {
        "v": 1,
        "image": {"id": 7, "path": "ä.jpg", "as_is": 900},
        "box": {"key": "k", "bbox": [1, 2, 3, 4]},
        "caption": {"service": "blip", "text": "a cat"},
    }
