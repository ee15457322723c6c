import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windmill.core import wire
from windmill.errors import MessageError
from windmill.model import Box, BoxRef, Caption, Image, Job

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
ids = st.integers(-(2**63) + 1, 2**63 - 1)
numbers = st.floats(-1e9, 1e9)
sizes = st.floats(0, 1e9)
images = st.builds(Image, image_id=ids, path=texts, url=st.none() | texts)
remote_images = st.builds(Image, image_id=ids, url=texts)
boxes = st.builds(Box, x=numbers, y=numbers, width=sizes, height=sizes)
jobs = st.builds(
    Job,
    image=images | remote_images,
    box=st.none() | st.builds(BoxRef, key=texts, box=boxes),
    caption=st.none() | st.builds(Caption, service=texts, text=texts),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["v", "image", "box", "caption", "id", "path", "url", "bbox", "key", "text"]),
            inner,
        )
    ),
    max_leaves=12,
)

GOOD = {"v": 1, "image": {"id": 7, "path": "a.jpg"}}


@given(jobs)
def test_a_job_comes_back_as_it_was(job):
    assert wire.decode(wire.encode(job)) == job


@given(st.binary())
def test_garbage_is_a_message_error_and_nothing_else(body):
    with pytest.raises(MessageError):
        wire.decode(body)


@given(json_values)
def test_foreign_json_is_a_message_error_or_a_job(value):
    try:
        job = wire.decode(json.dumps(value).encode())
    except MessageError:
        return
    assert wire.decode(wire.encode(job)) == job


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"v": 2}, "version 2"),
        ({"image": {"id": 7}}, "path or a url"),
        ({"image": {"id": "7", "path": "a"}}, "whole number"),
        ({"image": {"id": True, "path": "a"}}, "whole number"),
        ({"image": {"id": 7, "path": 1}}, "expected text"),
        ({"image": None}, "not a job"),
        ({"box": {"key": "k", "bbox": [1, 2, 3]}}, "not a job"),
        ({"box": {"bbox": [1, 2, 3, 4]}}, "key"),
        ({"caption": {"service": "blip"}}, "text"),
    ],
)
def test_says_what_is_wrong(change, why):
    with pytest.raises(MessageError, match=why):
        wire.decode(json.dumps(GOOD | change).encode())


def test_deep_nesting_is_a_message_error():
    with pytest.raises(MessageError):
        wire.decode(b"[" * 100_000)


def test_what_it_writes_is_what_is_documented():
    job = Job(
        image=Image(image_id=7, path="ä.jpg"),
        box=BoxRef(key="k", box=Box(x=1, y=2, width=3, height=4)),
        caption=Caption(service="blip", text="a cat"),
    )
    assert json.loads(wire.encode(job)) == {
        "v": 1,
        "image": {"id": 7, "path": "ä.jpg"},
        "box": {"key": "k", "bbox": [1, 2, 3, 4]},
        "caption": {"service": "blip", "text": "a cat"},
    }
