"""Whatever lies in a queue is a job or a MessageError, and a job comes back as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.given import damaged, fuzz, json_values, odd
from windmill.core import wire
from windmill.errors import MessageError
from windmill.model import Box, BoxRef, Caption, Image, Job

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
ids = st.integers(-(2**63) + 1, 2**63 - 1)
numbers, sizes = st.floats(-1e9, 1e9), st.floats(0, 1e9)
images = st.builds(Image, image_id=ids, path=texts, url=st.none() | texts)
remote_images = st.builds(Image, image_id=ids, url=texts)
boxes = st.builds(Box, x=numbers, y=numbers, width=sizes, height=sizes)
jobs = st.builds(
    Job,
    image=images | remote_images,
    box=st.none() | st.builds(BoxRef, key=texts, box=boxes),
    caption=st.none() | st.builds(Caption, service=texts, text=texts),
)
like_jobs = st.fixed_dictionaries(
    {"v": st.just(1), "image": st.fixed_dictionaries({"id": ids, "path": texts})},
    optional={
        "box": json_values
        | st.fixed_dictionaries({"key": odd | texts, "bbox": st.lists(odd, min_size=4, max_size=4)}),
        "caption": json_values | st.fixed_dictionaries({"service": texts, "text": odd | st.text()}),
    },
)
bodies = st.builds(lambda value: json.dumps(value).encode(), like_jobs | json_values)


@fuzz
@given(jobs)
def test_a_job_comes_back_as_it_was(job):
    assert wire.decode(wire.encode(job)) == job


@fuzz
@given(bodies)
def test_any_json_is_a_job_or_a_message_error(body):
    check(body)


@fuzz
@given(damaged(bodies) | damaged(st.builds(wire.encode, jobs)))
def test_any_bytes_are_a_job_or_a_message_error(body):
    check(body)


def check(body):
    """A job that can be sent again, or an error in one plain line."""
    try:
        job = wire.decode(body)
    except MessageError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert wire.decode(wire.encode(job)) == job


@fuzz
@given(st.binary())
def test_garbage_is_a_message_error_and_nothing_else(body):
    with pytest.raises(MessageError):
        wire.decode(body)
