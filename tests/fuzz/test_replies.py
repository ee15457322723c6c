"""Whatever a service says is a reply or a ServiceError; the rest can live with each reply."""

import json
import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.detectors import AVERAGE
from tests.fuzz.given import bodies, fuzz, reply_bodies, services
from windmill import catalog
from windmill.core import documents, merging, replies, routing, voting, wire
from windmill.core.geometry import pixel_bounds
from windmill.core.placing import place
from windmill.errors import BadReply, ServiceError
from windmill.model import Image, Snapshot, StoredReply

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = Image(image_id=7, path="a.jpg")
LONGEST_KEY = 2600  # bytes that PostgreSQL can index, beside the rest of the row


def parsed(service, body):
    """The reply, or None where it is refused in one plain line that names the service."""
    try:
        return replies.parse(service, body)
    except ServiceError as error:
        assert service.name in str(error)
        assert len(str(error)) < 1000
        assert "\n" not in str(error)
        if isinstance(error, BadReply):
            assert len(error.body) <= 2000
        json.dumps(documents.failure(error)).encode()
        return None


@fuzz
@given(services, bodies)
def test_anything_is_a_reply_or_a_service_error(service, body):
    reply = parsed(service, body)
    if reply is None:
        return
    for detection in (*reply.detections, *reply.full_image):
        assert 0 <= detection.confidence <= 1
        if detection.box:
            assert detection.box.width > 0
            assert detection.box.height > 0
            pixel_bounds(detection.box)
    for follower in routing.after_result(service, IMAGE, reply):
        assert wire.decode(wire.encode(follower.job)) == follower.job


@fuzz
@given(bodies)
def test_anything_is_a_score_or_a_service_error(body):
    try:
        assert -1 <= replies.parse_score(catalog.facts("caption_score"), body) <= 1
    except ServiceError as error:
        assert "caption_score" in str(error)


@fuzz
@given(
    st.lists(st.tuples(services, reply_bodies), max_size=6, unique_by=lambda pair: pair[0].name), st.randoms()
)
def test_accepted_replies_can_be_merged_and_voted_on(said, chance: random.Random):
    heard = [(service, parsed(service, body)) for service, body in said]
    stored = [
        StoredReply(result_id=n, created=NOW, reply=reply) for n, (_, reply) in enumerate(heard) if reply
    ]
    boxes = merging.merge(stored, AVERAGE)
    for box in boxes:
        assert 0 <= box.score <= 1
        assert len(box.key.encode()) <= LONGEST_KEY
        pixel_bounds(box.crop)
        pixel_bounds(box.box)
        written = json.loads(documents.merged_box(box, merging.rule(AVERAGE)))
        assert documents.read_merged_box(box.key, written) == box
    snapshot = Snapshot(image=IMAGE, replies=tuple(stored))
    for follower in routing.after_merge(catalog.facts(catalog.MERGER), snapshot, boxes, resumed=False):
        assert wire.decode(wire.encode(follower.job)) == follower.job
    consensus = voting.vote(stored, boxes)
    documents.consensus(consensus).encode()
    chance.shuffle(stored)
    assert merging.merge(stored, AVERAGE) == boxes
    assert voting.vote(stored, boxes) == consensus


@fuzz
@given(services, reply_bodies, st.integers(0, 10**6), st.integers(0, 10**6))
def test_accepted_replies_about_a_crop_can_be_placed_in_the_image(service, body, left, top):
    if parsed(service, body) is not None:
        form = service.bbox_format
        placed = place(body, left=left, top=top, width=10, height=10, bbox_format=form)
        assert json.loads(placed)["crop"]["x"] == left
