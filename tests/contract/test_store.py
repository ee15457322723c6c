"""What the real store promises: upserts, stable boxes, one image at a time."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from tests.detectors import AVERAGE
from tests.unit.test_merging import box, reply, seen
from windmill.catalog import facts
from windmill.core import classes
from windmill.core.merging import merge, rule
from windmill.errors import ConfigError, StaleBox, StoreError, StoreUnavailable
from windmill.handlers.merge import Merge
from windmill.handlers.vote import Vote
from windmill.model import (
    DeadRow,
    DispatchRow,
    MergedBoxesRow,
    NewImage,
    Outcome,
    PostprocessingRow,
    ResultRow,
    Seen,
    StageRow,
    State,
    Status,
)
from windmill.postgres.connection import Session
from windmill.postgres.registry import PostgresImages
from windmill.postgres.store import PostgresStore

PATIENCE = 60.0
CAT = json.dumps(
    {
        "status": "success",
        "predictions": [{"label": "cat", "emoji": "🐈", "confidence": 0.9, "bbox": [0, 0, 9, 9]}],
    }
)


@pytest.fixture
def image(database):
    return add_images(database, 1)[0]


def add_images(settings, count, group="demo"):
    new = [
        NewImage(
            filename=f"{n}.jpg",
            group=group,
            content_hash=f"{group}{n}".encode(),
            width=9,
            height=9,
            path=f"/p/{n}.jpg",
        )
        for n in range(count)
    ]
    with closing(PostgresImages(settings, "ingest")) as registry:
        return sorted(registry.add(new).values())


def result(image_id, service="yolov8", **fields):
    facts = {
        "status": Status.SUCCESS,
        "data": CAT,
        "service_types": ("spatial",),
        "bbox_format": "xywh",
        "vocabulary": "coco",
    }
    return Outcome(rows=(ResultRow(image_id=image_id, service=service, **(facts | fields)),))


def dispatched(image_id, state=State.DONE, service="yolov8", **fields):
    row = DispatchRow(image_id=image_id, service=service, state=state, **({"version": ""} | fields))
    return Outcome(rows=(row,))


def done(image_id, service="yolov8", *, asked="", **fields):
    """A result and what it does to the ledger, as `Analyze` says it."""
    rows = (
        *result(image_id, service, **fields).rows,
        *dispatched(image_id, service=service, version=asked, found=1).rows,
    )
    return Outcome(rows=rows)


def merged(image_id, *boxes):
    return Outcome(rows=(MergedBoxesRow(image_id=image_id, boxes=boxes, rule=rule(AVERAGE)),))


def crop_result(image_id, key, service="colors", **fields):
    facts = {"status": Status.SUCCESS, "data": "{}"} | fields
    return Outcome(rows=(PostprocessingRow(image_id=image_id, box_key=key, service=service, **facts),))


CAT_BOX = merge([reply("yolov8", seen("🐈", 0.9, box(0, 0, 9, 9)))], AVERAGE)[0]
DOG_BOX = merge([reply("yolov8", seen("🐕", 0.9, box(20, 20, 9, 9)))], AVERAGE)[0]


def test_saving_twice_is_saving_once(store, image, rows):
    store.save([result(image)])
    first = rows("SELECT result_id, service, status, worker_id, data ->> 'status' FROM results")
    store.save([result(image), result(image)])
    assert rows("SELECT result_id, service, status, worker_id, data ->> 'status' FROM results") == first
    assert first[0][1:] == ("yolov8", "success", "worker-1", "success")


def test_an_error_never_overwrites_a_success(store, image, rows):
    failed = Outcome(
        rows=(
            *result(image, status=Status.ERROR, data='{"error": {}}').rows,
            *dispatched(image, State.FAILED, error_class="ImageError", error="gone").rows,
        )
    )
    store.save([failed])
    joined = "SELECT r.status, d.state, d.last_error FROM results r JOIN dispatches d USING (image_id)"
    assert rows(joined) == [("error", "failed", "gone")]
    store.save([done(image)])
    store.save([failed])
    assert rows(joined) == [("success", "done", None)]


def test_a_late_answer_of_an_older_version_is_skipped(store, database, image, rows, caplog):
    versions = "SELECT model_version, data #>> '{metadata,n}' FROM results"
    reply = json.loads(CAT)

    def answer(version, n, asked):
        data = json.dumps(reply | {"metadata": {"n": n}})
        return done(image, asked=asked, model_version=version, data=data)

    store.save([answer("yolo 1", 1, "")])
    store.save([answer("yolo 2", 2, "yolo 2")])
    with closing(PostgresStore(database, "late")) as late:
        for _ in range(2):
            late.save([answer("yolo 1", 3, "yolo 1")])
    assert caplog.text.count("yolov8 answers as yolo 1") == 1
    assert rows(versions) == [("yolo 2", "2")]
    store.save([answer("yolo 2", 4, "yolo 2")])
    assert rows(versions) == [("yolo 2", "4")]
    assert rows("SELECT version, state, last_error FROM dispatches ORDER BY version") == [
        ("", "done", None),
        ("yolo 1", "skipped", "a newer version of the model has answered already"),
        ("yolo 2", "done", None),
    ]


def test_a_failure_in_the_same_batch_replaces_no_success(store, image, rows):
    failed = result(image, status=Status.ERROR, data='{"error": {}}')
    store.save([done(image), failed, dispatched(image, State.FAILED, error_class="E", error="late")])
    assert rows("SELECT r.status, d.state FROM results r JOIN dispatches d USING (image_id)") == [
        ("success", "done")
    ]


def test_a_version_is_known_once_it_is_committed(store, image, rows):
    with pytest.raises(StoreError):
        store.save([done(image, model_version="v1"), result(999_999)])
    store.save([done(image, model_version="v1")])
    assert rows("SELECT version FROM service_versions") == [("v1",)]


def test_a_version_that_is_made_current_again_replaces_the_others(store, ledger, image, rows):
    store.save([done(image, model_version="yolo 1")])
    store.save([done(image, model_version="yolo 2")])
    assert ledger.versions("yolov8")[0] == "yolo 2"
    ledger.make_current("yolov8", "yolo 1")
    assert ledger.versions("yolov8")[0] == "yolo 1"
    store.save([done(image, model_version="yolo 1")])
    assert rows("SELECT model_version FROM results") == [("yolo 1",)]


def test_crops_keep_the_newer_answer_too(store, image, rows):
    store.save([merged(image, CAT_BOX)])
    for version in ("c 1", "c 2", "c 1"):
        store.save([crop_result(image, CAT_BOX.key, model_version=version)])
    assert rows("SELECT model_version FROM postprocessing") == [("c 2",)]


def test_attempts_are_counted_and_parking_is_none(store, image, rows):
    states = "SELECT state, attempts, error_class, settled_at IS NULL FROM dispatches"
    store.save([dispatched(image, State.QUEUED, error_class="ServiceBusy", error="500")])
    store.save([dispatched(image, State.PARKED, attempted=False, error_class="ServiceDown", error="no")])
    assert rows(states) == [("parked", 1, "ServiceDown", True)]
    store.save([dispatched(image, State.DONE, found=0)])
    assert rows(states) == [("done", 2, None, False)]


def test_a_stage_notes_what_it_saw_and_when_its_boxes_changed(store, image, rows):
    def stage(found):
        row = StageRow(image_id=image, stage="bbox_merger", seen={"yolov8": found}, found=found, rule="r 1")
        return Outcome(rows=(row,))

    changes = "SELECT seen, found, changed_at FROM stages"
    store.save([Outcome(rows=(*merged(image).rows, *stage(0).rows))])
    assert rows(changes) == [({"yolov8": 0}, 0, None)]
    store.save([Outcome(rows=(*merged(image, CAT_BOX).rows, *stage(1).rows))])
    ((_, _, changed),) = rows(changes)
    store.save([Outcome(rows=(*merged(image, CAT_BOX).rows, *stage(2).rows))])
    assert rows(changes) == [({"yolov8": 2}, 2, changed)]
    assert changed is not None


def test_a_job_that_is_given_up_twice_is_dead_once(store, image, rows):
    dead = DeadRow(
        service="blip", image_id=image, body=b"{", attempts=1, error_class="MessageError", error="a\0b"
    )
    store.save([Outcome(rows=(dead,))])
    store.save([Outcome(rows=(replace(dead, attempts=2),))] * 2)
    assert rows("SELECT service, attempts, error FROM dead_jobs") == [("blip", 2, "a\ufffdb")]


def test_a_row_for_an_image_that_is_gone_is_refused_with_the_whole_batch(store, image, rows):
    with pytest.raises(StoreError, match="image is not in the database"):
        store.save([result(image), result(999_999)])
    assert rows("SELECT * FROM results") == []
    store.save([result(image)])


def test_text_that_jsonb_cannot_hold_loses_no_reply(store, image, rows):
    store.save([result(image, data=json.dumps({"status": "success", "predictions": [], "text": "a\u0000b"}))])
    assert rows("SELECT data ->> 'text' FROM results") == [("a\ufffdb",)]


def test_a_box_that_stays_keeps_its_row_and_what_hangs_on_it(store, image, rows):
    store.save([merged(image, CAT_BOX, DOG_BOX)])
    ids = dict(rows("SELECT box_key, merged_id FROM merged_boxes"))
    store.save([crop_result(image, CAT_BOX.key), crop_result(image, DOG_BOX.key)])
    store.save([merged(image, replace(CAT_BOX, score=0.5))])
    assert rows("SELECT box_key, merged_id, merged_data ->> 'score' FROM merged_boxes") == [
        (CAT_BOX.key, ids[CAT_BOX.key], "0.5")
    ]
    assert rows("SELECT merged_box_id, service FROM postprocessing") == [(ids[CAT_BOX.key], "colors")]


def test_a_box_that_a_reply_refines_keeps_its_row_and_what_hangs_on_it(store, image, rows):
    merger = Merge(merger=facts("bbox_merger"), detectors=AVERAGE)
    cropped = []

    def step(snapshot):
        outcome = merger(snapshot, resumed=False)
        cropped.append([one.job.box.box for one in outcome.followers if one.job.box])
        return outcome

    boxes = "SELECT merged_id, box_key, merged_data FROM merged_boxes"
    store.save([result(image)])
    store.recompute([image], step)
    ((number, key, before),) = rows(boxes)
    store.save([crop_result(image, key)])
    weaker = CAT.replace("0.9", "0.6").replace("[0, 0, 9, 9]", "[1, 0, 9, 9]")
    store.save([result(image, "rtdetr", data=weaker)])
    store.recompute([image], step)
    ((still, _, after),) = rows(boxes)
    assert (still, after["crop"]) == (number, before["crop"])
    assert before["bbox"]["x"] == after["crop"]["x"] == 0 < after["bbox"]["x"] < 1
    assert cropped == [[box(0, 0, 9, 9)], []]
    assert rows("SELECT merged_box_id, service FROM postprocessing") == [(number, "colors")]
    assert after["rule"] == asdict(rule(AVERAGE))
    surer = CAT.replace("0.9", "0.95").replace("[0, 0, 9, 9]", "[0, 1, 9, 9]")
    store.save([result(image, "yolo_oi7", data=surer)])
    store.recompute([image], step)
    assert cropped[2] == [box(0, 1, 9, 9)]
    assert rows("SELECT * FROM postprocessing") == []


def test_no_boxes_is_a_set_too(store, image, rows):
    store.save([merged(image, CAT_BOX)])
    store.save([merged(image)])
    assert rows("SELECT * FROM merged_boxes") == []


def test_a_result_for_a_box_that_was_replaced_is_stale(store, image):
    store.save([merged(image, CAT_BOX)])
    with pytest.raises(StaleBox, match="replaced"):
        store.save([crop_result(image, DOG_BOX.key)])


def test_a_caption_score_belongs_to_the_image(store, image, rows):
    store.save([crop_result(image, None, "caption_score_blip")] * 2)
    assert rows("SELECT merged_box_id, service, status FROM postprocessing") == [
        (None, "caption_score_blip", "success")
    ]


def test_a_snapshot_holds_what_succeeded(store, image):
    store.save([result(image), result(image, "blip", status=Status.ERROR, data='{"error": {}}')])
    store.save([merged(image, CAT_BOX)])
    store.save([crop_result(image, CAT_BOX.key)])
    caught = []

    def step(snapshot):
        caught.append(snapshot)
        return Outcome()

    store.recompute([image], step)
    (snapshot,) = caught
    assert [one.reply.service for one in snapshot.replies] == ["yolov8"]
    assert snapshot.replies[0].reply.detections[0].box == box(0, 0, 9, 9)
    assert snapshot.boxes == (CAT_BOX,)
    assert snapshot.postprocessed == {(CAT_BOX.key, "colors")}


@pytest.mark.parametrize(
    ("vocabulary", "knows"),
    [
        (("feline", "Taxi"), {"feline", "car"}),
        ("unknown", None),
        ("openimages", classes.words("openimages").knows),
    ],
)
def test_a_row_says_what_its_service_can_see(store, image, vocabulary, knows):
    store.save([result(image, "mine", vocabulary=vocabulary)])
    caught = []
    store.recompute([image], lambda snapshot: caught.append(snapshot) or Outcome())
    (stored,) = caught[0].replies
    assert stored.reply.knows == knows
    assert stored.reply.detections[0].class_name == "cat"


def test_a_row_of_someone_else_means_what_the_service_s_name_implies(store, image, rows):
    rows("INSERT INTO results (image_id, service, data) VALUES (%s, 'yolo_365', %s)", image, CAT)
    caught = []
    store.recompute([image], lambda snapshot: caught.append(snapshot) or Outcome())
    assert caught[0].replies[0].reply.knows == classes.words("objects365").knows


def test_an_image_that_is_gone_is_left_out(store):
    assert list(store.recompute([999_999], lambda snapshot: Outcome())) == []


def test_a_row_that_someone_else_wrote_wrongly_is_left_out_with_a_warning(store, image, rows, caplog):
    rows("INSERT INTO results (image_id, service, data) VALUES (%s, 'yolov8', '{\"hello\": 1}')", image)
    rows(
        "INSERT INTO results (image_id, service, data) VALUES (%s, 'rtdetr', %s)",
        image,
        CAT.replace("[0, 0, 9, 9]", "null"),
    )
    found = []
    store.recompute([image], lambda snapshot: found.append(len(snapshot.replies)) or Outcome())
    assert found == [1]
    assert "yolov8 is left out" in caplog.text


def test_two_workers_with_one_image_take_turns(database, image):
    inside, go_on, order = threading.Event(), threading.Event(), []

    def slow(snapshot):
        inside.set()
        go_on.wait(PATIENCE)
        order.append("first")
        return Outcome(rows=(MergedBoxesRow(image_id=image, boxes=(CAT_BOX,), rule=rule(AVERAGE)),))

    def late(snapshot):
        order.append(f"second sees {len(snapshot.boxes)}")
        return Outcome()

    def work(step):
        with closing(PostgresStore(database, "w")) as own:
            own.recompute([image], step)

    threads = [threading.Thread(target=work, args=(step,)) for step in (slow, late)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["first", "second sees 1"]


def test_a_consensus_is_one_row(store, image, rows):
    store.save([result(image), result(image, "rtdetr")])
    vote = Vote(clock=lambda: 1.0)
    for _ in range(2):
        store.recompute([image], lambda snapshot: vote(snapshot, resumed=False))
    data = rows("SELECT consensus_data FROM consensus")
    assert len(data) == 1
    assert data[0][0]["votes"]["consensus"][0]["emoji"] == "🐈"
    assert data[0][0]["services_list"] == ["rtdetr", "yolov8"]


def told(store, images, stage, rule="v3", seen=None):
    """Which of the images the stage is handed when all that it has seen is to be left as it is."""
    handed = []
    seen = Seen(image_ids=tuple(images) if seen is None else seen, stage=stage.stage, rule=rule)

    def step(snapshot):
        handed.append(snapshot.image.image_id)
        return stage(snapshot, resumed=False)

    store.recompute(images, step, seen)
    return handed


def test_an_image_without_news_is_left_as_it_is(store, database):
    one, two = add_images(database, 2)
    vote = Vote(clock=lambda: 1.0)
    store.save([result(one), result(two)])
    assert told(store, [one, two], vote) == [one, two]
    assert told(store, [one, two], vote) == []
    store.save([result(two, "blip")])
    assert told(store, [one, two], vote) == [two]
    store.save([result(one)])  # the same answer once more is news
    assert told(store, [one, two], vote) == [one]
    assert told(store, [one, two], vote, rule="another rule") == [one, two]
    assert told(store, [one, two], vote, seen=()) == [one, two]


def test_boxes_are_news_to_the_voter_and_captions_none_to_the_merger(store, image):
    merge = Merge(merger=facts("bbox_merger"), detectors=AVERAGE)
    vote = Vote(clock=lambda: 1.0)
    store.save([result(image)])
    assert told(store, [image], vote) == [image]
    assert told(store, [image], merge, merge.identity) == told(store, [image], vote) == [image]
    assert told(store, [image], merge, merge.identity) == told(store, [image], vote) == []
    store.save([result(image, "blip", service_types=("semantic",))])
    assert told(store, [image], merge, merge.identity) == []
    assert told(store, [image], vote) == [image]


def test_a_merger_is_shown_what_detectors_say(store, image, rows):
    store.save([result(image), result(image, "blip", service_types=("semantic",))])
    for name in ("rtdetr", "ocr"):  # by someone else, who leaves their types to their names
        rows("INSERT INTO results (image_id, service, data) VALUES (%s, %s, %s)", image, name, CAT)
    caught = []
    for stage in ("bbox_merger", "consensus"):
        seen = Seen(image_ids=(image,), stage=stage, rule="")
        store.recompute([image], lambda snapshot: caught.append(snapshot) or Outcome(), seen)
    merger, voter = ([one.reply.service for one in snapshot.replies] for snapshot in caught)
    assert merger == ["rtdetr", "yolov8"]
    assert voter == ["blip", "ocr", "rtdetr", "yolov8"]


def test_an_image_is_admitted_once(database):
    assert len(add_images(database, 2)) == 2
    assert add_images(database, 2) == []


def test_a_wrong_database_names_the_settings_and_no_password(database):
    wrong = replace(database, db_name="nowhere", db_password="correct horse")
    with pytest.raises(ConfigError, match="DB_NAME") as caught:
        PostgresStore(wrong, "w").save([])
    assert "correct horse" not in str(caught.value)


def test_tables_that_are_missing_name_the_command(empty_database):
    with pytest.raises(ConfigError, match="windmill schema"):
        PostgresStore(empty_database, "w").save([result(1)])


def test_a_server_that_is_down_passes(database):
    with pytest.raises(StoreUnavailable, match="DB_HOST"):
        PostgresStore(replace(database, db_port=1), "w").save([])


def test_a_connection_that_was_cut_is_opened_again(store, image, rows):
    store.save([result(image)])
    rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'worker-1'")
    with pytest.raises(StoreUnavailable):
        store.save([result(image)])
    store.save([result(image)])


@pytest.mark.parametrize("wish", ["on", "off"])
def test_only_workers_commit_without_the_disk_and_only_when_told_to(wish, database, postgres_server):
    postgres_server.run(f"ALTER DATABASE {database.db_name} SET synchronous_commit = on")
    settings = replace(database, db_synchronous_commit=wish)
    found = []
    for session in (Session(settings, "worker", hasty=True), Session(settings, "producer")):
        with closing(session), session.transaction() as cursor:
            cursor.execute("SHOW synchronous_commit")
            found.append(cursor.fetchone()[0])
    assert found == [wish, "on"]
