"""What each kind of work wants written, and what follows."""

import json

import pytest

from tests.detectors import AVERAGE
from tests.unit.test_merging import NOW, box, reply, seen
from windmill import catalog
from windmill.core.merging import merge, rule
from windmill.core.seen import microseconds
from windmill.errors import MessageError, ServiceBusy, ServiceDown, ServiceFull, ServiceUnavailable
from windmill.handlers.analyze import Analyze
from windmill.handlers.merge import Merge
from windmill.handlers.postprocess import Postprocess
from windmill.handlers.score import Score
from windmill.handlers.vote import Vote
from windmill.model import BoxRef, Caption, ConsensusRow, Image, Job, MergedBoxesRow, Snapshot, Status

IMAGE = Image(image_id=7, path="/photos/7.jpg")
FACE = {"label": "face", "emoji": "🙂", "confidence": 0.9, "bbox": [1, 2, 3, 4]}


class Photos:
    """Remembers what was cut out."""

    def __init__(self):
        self.cuts = []

    def upright(self, image):
        return b"whole"

    def crop(self, image, *bounds):
        self.cuts.append(bounds)
        return b"crop"


class Service:
    """Answers with one body, and remembers what it was sent."""

    def __init__(self, body):
        self.body = json.dumps(body).encode()
        self.sent = []

    def analyze(self, picture):
        self.sent.append(picture)
        return self.body

    def score(self, picture, caption):
        self.sent.append((picture, caption))
        return self.body


@pytest.mark.parametrize(
    ("error", "state", "attempted"),
    [
        (ServiceBusy("429", service="yolov8", retry_after=7), "queued", True),
        (ServiceFull("503", service="yolov8", retry_after=7), "queued", False),
        (ServiceDown("gone", service="yolov8"), "parked", False),
    ],
)
def test_the_ledger_counts_the_attempts_that_are_spent(error, state, attempted):
    handler = Analyze(service=catalog.facts("yolov8"), images=Photos(), caller=Service({}))
    (row,) = handler.postponed(Job(image=IMAGE), error).rows
    assert (row.state, row.attempted) == (state, attempted)


def faces(photos):
    service = Service({"status": "success", "predictions": [FACE]})
    return service, Postprocess(worker=catalog.facts("bbox_face"), images=photos, caller=service)


def test_a_crop_is_sent_and_what_is_found_is_in_image_pixels():
    photos = Photos()
    service, handler = faces(photos)
    outcome = handler(Job(image=IMAGE, box=BoxRef(key="🧑 9.6,20,30,40", box=box(9.6, 20, 30, 40))))
    assert service.sent == [b"crop"]
    assert photos.cuts == [(9, 20, 40, 60)]
    (row,) = outcome.rows
    assert (row.service, row.box_key, row.status) == ("face", "🧑 9.6,20,30,40", Status.SUCCESS)
    data = json.loads(row.data)
    assert data["predictions"][0]["bbox"] == [10, 22, 3, 4]
    assert data["crop"] == {"x": 9, "y": 20, "width": 31, "height": 40}
    assert outcome.followers == ()


def test_a_box_that_begins_outside_is_cut_at_the_border():
    photos = Photos()
    _, handler = faces(photos)
    handler(Job(image=IMAGE, box=BoxRef(key="k", box=box(-5, -5, 30, 30))))
    assert photos.cuts == [(0, 0, 25, 25)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServiceBusy("500", service="face"), Status.ERROR),
        (ServiceUnavailable("slow", service="face", timed_out=True), Status.TIMEOUT),
    ],
)
def test_a_crop_that_is_given_up_leaves_a_row(error, status):
    _, handler = faces(Photos())
    (row,) = handler.failed(Job(image=IMAGE, box=BoxRef(key="k", box=box(0, 0, 9, 9))), error).rows
    assert (row.status, row.box_key) == (status, "k")
    assert json.loads(row.data)["error"]["class"] == type(error).__name__


def test_a_caption_is_scored_under_its_captioners_name():
    service = Service({"status": "success", "similarity_score": 0.31})
    handler = Score(service=catalog.facts("caption_score"), images=Photos(), caller=service)
    (row,) = handler(Job(image=IMAGE, caption=Caption(service="ollama", text="a wave"))).rows
    assert service.sent == [(b"whole", "a wave")]
    assert (row.service, row.box_key) == ("caption_score_ollama", None)
    assert json.loads(row.data)["similarity_score"] == 0.31


@pytest.mark.parametrize("work", [Score, Postprocess])
def test_a_job_that_lacks_what_it_is_about_is_no_job(work):
    entry = catalog.facts("caption_score" if work is Score else "bbox_face")
    name = "service" if work is Score else "worker"
    handler = work(**{name: entry}, images=Photos(), caller=Service({}))
    with pytest.raises(MessageError, match="without a"):
        handler(Job(image=IMAGE))


def test_a_merge_writes_the_whole_set_and_sends_what_is_new():
    snapshot = Snapshot(image=IMAGE, replies=(reply("yolov8", seen("🐈", 0.9, box(0, 0, 9, 9))),))
    outcome = Merge(merger=catalog.facts("bbox_merger"), detectors=AVERAGE)(snapshot, resumed=False)
    boxes, stage = outcome.rows
    assert boxes == MergedBoxesRow(image_id=7, boxes=merge(snapshot.replies, AVERAGE), rule=rule(AVERAGE))
    assert (stage.stage, stage.found, stage.seen) == ("bbox_merger", 1, {"yolov8": microseconds(NOW)})
    assert stage.rule == str(rule(AVERAGE))
    assert [d.services for d in outcome.followers] == [("consensus",), ("bbox_colors",)]


def test_a_vote_writes_one_consensus_and_sends_nothing():
    snapshot = Snapshot(image=IMAGE, replies=(reply("yolov8", seen("🐈", 0.9, box(0, 0, 9, 9))),))
    ticks = iter((1.0, 1.5))
    outcome = Vote(clock=lambda: next(ticks))(snapshot, resumed=False)
    row, stage = outcome.rows
    assert isinstance(row, ConsensusRow)
    assert (stage.stage, stage.seen) == ("consensus", {"yolov8": microseconds(NOW)})
    assert (row.consensus.services, row.consensus.latest_result_time) == (("yolov8",), NOW)
    assert row.processing_time == 0.5
    assert outcome.followers == ()


def test_without_a_successful_reply_there_is_no_consensus():
    assert Vote(clock=lambda: 0.0)(Snapshot(image=IMAGE, replies=()), resumed=False).rows == ()
