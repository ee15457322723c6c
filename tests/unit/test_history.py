"""What `windmill why` says of each stage."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from windmill.catalog import STAGES, Catalog, Service, facts
from windmill.history import Asked, History, Looked, Made, steps, waits_for
from windmill.model import QueueState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("yolov8", "blip", "bbox_merger", "consensus", "bbox_colors", "bbox_face", "caption_score")
QUEUES = {name: QueueState(waiting=3, consumers=1) for name in NAMES}
TRIGGERS = {"blip": ("consensus", "caption_score")}


def services(*names):
    found = {name: facts(name) for name in names}
    found |= {name: Service(name=name, triggers=TRIGGERS[name]) for name in names if name in TRIGGERS}
    return Catalog(found, Path("service_config.json"))


def asked(**fields):
    usual = {
        "service": "yolov8",
        "version": "",
        "state": "queued",
        "found": None,
        "attempts": 0,
        "error_class": None,
        "error": None,
        "worker_id": None,
        "dispatched_at": NOW,
        "settled_at": None,
        "answered": None,
    }
    return Asked(**(usual | fields))


def made(stage, seen, found=2, changed=None):
    return Made(stage=stage, seen=seen, found=found, rule="r 1", made_at=NOW, worker_id="m", changed=changed)


def past(**fields):
    return History(
        image_id=1,
        filename="a.jpg",
        path="/a.jpg",
        url=None,
        group="g",
        width=9,
        height=9,
        admitted=NOW,
        **fields,
    )


def story(*names, queues=QUEUES, **fields):
    return {step.stage: step for step in steps(past(**fields), services(*names), queues)}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state": "done", "found": 2, "settled_at": NOW, "answered": "v8"}, ("found 2 by v8", "")),
        ({"state": "done", "found": 0, "settled_at": NOW}, ("found 0", "")),
        (
            {"state": "failed", "error_class": "ImageError", "error": "gone", "settled_at": NOW},
            ("ImageError: gone", "windmill rerun --service yolov8 --failed"),
        ),
        (
            {"state": "queued", "attempts": 2, "error_class": "ServiceBusy", "error": "500"},
            ("after 2 failed attempts: ServiceBusy: 500", "3 jobs in queue_yolov8, 1 worker on it"),
        ),
        ({"state": "parked", "error_class": "ServiceDown", "error": "refused"}, ("refused", "3 jobs")),
        ({"state": "skipped", "error": "dropped by hand", "settled_at": NOW}, ("dropped by hand", "")),
    ],
)
def test_each_state_says_what_happened_and_what_it_waits_for(fields, said):
    step = story("yolov8", asked=(asked(**fields),))["yolov8"]
    assert said[0] in step.what
    assert said[1] in step.waits
    assert bool(said[1]) == bool(step.waits)


def test_a_queue_without_jobs_and_workers_hints_at_what_was_lost():
    step = story("yolov8", asked=(asked(),), queues={"yolov8": QueueState()})["yolov8"]
    assert "0 jobs in queue_yolov8, no worker on it" in step.waits
    assert "windmill reconcile" in step.waits
    assert "cannot be asked" in story("yolov8", asked=(asked(),), queues={})["yolov8"].waits


def test_a_service_that_is_down_is_named_for_every_image_that_waits_for_it():
    step = story("yolov8", asked=(asked(),), parked={"yolov8": "no connection"})["yolov8"]
    assert step.waits.startswith("for its service to be back (no connection); 3 jobs")


def test_what_was_asked_again_is_told_of_the_latest_version_only():
    failed = asked(state="failed", error_class="ImageError", error="gone", settled_at=NOW)
    later = asked(version="v2", state="done", found=1, settled_at=NOW, answered="v2")
    told = story("yolov8", asked=(failed, later))
    assert told["yolov8"].waits == ""
    assert told["yolov8 (v2)"].what == "found 1 by v2"


def test_a_service_that_was_never_asked_is_named():
    assert story("yolov8")["yolov8"].state == "never asked"
    assert "produce --services yolov8" in story("yolov8")["yolov8"].waits


def test_a_stage_names_the_replies_that_it_has_not_seen():
    replies = (("yolov8", ("spatial",), 10), ("blip", ("semantic",), 11))
    current = story(
        replies=replies,
        made=(made("bbox_merger", {"yolov8": 10}, changed=12), made("consensus", {"yolov8": 10, "blip": 11})),
    )
    assert current["bbox_merger"].waits == ""
    assert current["consensus"].waits.startswith("to see bbox_merger: 3 jobs in queue_consensus")
    old = story(replies=replies, made=(made("bbox_merger", {"yolov8": 9}),))
    assert "yolov8" in old["bbox_merger"].waits
    assert old["consensus"].state == "waits"
    assert story()["bbox_merger"].state == "nothing to do"


def test_boxes_and_captions_are_counted():
    looked = (
        Looked(service="colors", done=2, failed=1, latest=NOW, worker_id="w", error="500"),
        Looked(service="caption_score_blip", done=1, failed=0, latest=NOW, worker_id="w", error=None),
    )
    told = story(
        *NAMES, replies=(("blip", ("semantic",), 1),), texts=("blip",), boxes=3, people=1, looked=looked
    )
    assert (told["bbox_colors"].state, told["bbox_colors"].what) == ("failed", "2 of 3 boxes, 1 failed: 500")
    assert (told["bbox_face"].state, told["bbox_face"].what) == ("waits", "0 of 1 boxes")
    assert told["caption_score"].state == "done"


def test_a_box_asks_about_the_stages_that_run_elsewhere():
    replies = (("yolov8", ("spatial",), 1), ("blip", ("semantic",), 1))
    seen = {"replies": replies, "texts": ("blip",), "boxes": 1, "people": 1}
    facts = {**seen, "asked": (asked(service="ocr"),)}
    queues = dict.fromkeys(waits_for(past(**facts), services("blip")), QueueState())
    told = story("blip", queues=queues, **facts)
    assert {"ocr", *STAGES} <= told.keys()
    for name in ("ocr", *STAGES):
        assert told[name].waits.endswith("no worker on it; if it stays so: windmill reconcile")


def test_a_caption_that_is_not_there_is_not_waited_for():
    replies = (("blip", ("semantic",), 1),)
    waiting = story("blip", replies=replies, texts=("blip",))["caption_score"]
    assert (waiting.state, waiting.what) == ("waits", "0 of 1 caption of blip")
    silent = story("blip", replies=replies)["caption_score"]
    assert (silent.state, silent.waits) == ("nothing to do", "")
