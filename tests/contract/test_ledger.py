"""What the real ledger promises: what is missing, lost, stale or dead, and noting what was sent."""

from __future__ import annotations

import argparse
import contextlib
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from tests.contract.test_store import (
    CAT_BOX,
    DOG_BOX,
    PATIENCE,
    add_images,
    crop_result,
    dispatched,
    done,
    merged,
    result,
)
from tests.detectors import AVERAGE
from windmill.catalog import facts
from windmill.commands import rerun
from windmill.core import merging, seen, wire
from windmill.dead import Matching
from windmill.findings import Standing
from windmill.handlers.merge import Merge
from windmill.handlers.vote import Vote
from windmill.model import (
    BoxesAgain,
    BoxRef,
    Caption,
    DeadRow,
    Image,
    ImagesAgain,
    Job,
    LostCaptions,
    LostCrops,
    LostDispatches,
    LostStage,
    Missing,
    Outcome,
    StagesAgain,
    State,
    Status,
    TheseImages,
    Which,
)
from windmill.postgres.graveyard import PostgresGraveyard
from windmill.postgres.histories import PostgresHistories
from windmill.postgres.ledger import PostgresLedger

SERVICES = ("yolov8", "blip")
MERGER, VOTER = Merge(merger=facts("bbox_merger"), detectors=AVERAGE), Vote(clock=lambda: 0.0)


@pytest.fixture
def graveyard(database):
    with closing(PostgresGraveyard(database, "dead")) as opened:
        yield opened


@pytest.fixture
def images(database):
    return add_images(database, 3)


def send(ledger, selection):
    sent = []
    after = 0
    while True:
        _, end = ledger.send(selection, sent.extend, after=after, limit=2)
        if end == after:
            return sent
        after = end


def asked(dispatches):
    return [(one.job.image.image_id, one.services) for one in dispatches]


def missing(ledger, services=SERVICES, **wanted):
    """What is missing as (image, services), asked for and refused, so that it stays missing."""
    selection, found = Missing(services=services, **wanted), []

    def refuse(window):
        found.extend(asked(window))
        raise InterruptedError

    with contextlib.suppress(InterruptedError):
        ledger.send(selection, refuse, after=0, limit=1000)
    assert ledger.count_images(selection) == len(found)
    assert ledger.count_images(selection, 1) == min(1, len(found))
    return found


def test_missing_is_what_has_neither_a_result_nor_a_job_under_way(images, store, ledger):
    one, two, three = images
    store.save([done(one)])
    store.save([dispatched(two, State.QUEUED, "blip"), dispatched(three, State.SKIPPED, "blip")])
    assert missing(ledger) == [(one, ("blip",)), (two, ("yolov8",)), (three, ("yolov8",))]
    assert missing(ledger, resume=False)[0] == (one, SERVICES)


def test_what_an_index_worker_has_done_is_not_missing_though_there_is_no_result(images, store, ledger):
    one, two, three = images
    store.save([dispatched(one, service="index_clip", found=1)])
    store.save([dispatched(two, State.FAILED, "index_clip")])
    assert missing(ledger, ("index_clip", "yolov8")) == [
        (one, ("yolov8",)),
        (two, ("yolov8",)),
        (three, ("index_clip", "yolov8")),
    ]


def test_these_images_are_sent_whatever_was_said_of_them_unless_they_wait_anyhow(images, store, ledger):
    one, two, three = images
    store.save([dispatched(one, service="index_clip", found=1)])
    store.save([dispatched(two, State.PARKED, "index_clip", error_class="ServiceDown", error="gone")])
    assert ledger.standings("index_clip", images) == [
        Standing(image_id=one, state=State.DONE, found=1, place="/p/0.jpg", error=""),
        Standing(
            image_id=two,
            state=State.PARKED,
            found=None,
            place="/p/1.jpg",
            error="ServiceDown: gone",
        ),
    ]
    assert asked(send(ledger, TheseImages(services=("index_clip",), images=(one, two)))) == [
        (one, ("index_clip",))
    ]
    assert [standing.state for standing in ledger.standings("index_clip", images)] == [
        State.QUEUED,
        State.PARKED,
    ]
    assert asked(send(ledger, TheseImages(services=("index_clip",), images=(one, three)))) == [
        (three, ("index_clip",))
    ]


def test_what_was_sent_is_not_missing_and_an_interrupted_window_is(images, ledger, rows):
    with pytest.raises(ZeroDivisionError):
        ledger.send(Missing(services=SERVICES), lambda window: 1 / 0, after=0, limit=9)
    assert rows("SELECT * FROM dispatches") == []
    assert asked(send(ledger, Missing(services=SERVICES))) == [(image, SERVICES) for image in images]
    assert missing(ledger) == []
    assert rows("SELECT DISTINCT service, state, attempts FROM dispatches ORDER BY service") == [
        ("blip", "queued", 0),
        ("yolov8", "queued", 0),
    ]


def test_a_result_that_was_deleted_is_missing_again(images, store, ledger, rows):
    one = images[0]
    store.save([done(image, service) for image in images for service in SERVICES])
    assert missing(ledger) == []
    rows("DELETE FROM results WHERE service = 'blip' AND image_id = %s", one)
    assert missing(ledger) == [(one, ("blip",))]


def test_a_group_is_a_group(database, ledger):
    add_images(database, 2, "demo")
    other = add_images(database, 1, "other")
    assert [image for image, _ in missing(ledger, group="other")] == other
    assert ledger.groups() == {"demo": 2, "other": 1}


def test_what_a_worker_settled_after_it_was_sent_stays_settled(store, ledger, images, rows):
    one = images[0]
    ledger.send(Missing(services=("yolov8",)), lambda window: store.save([done(one)]), after=0, limit=1)
    assert rows("SELECT state FROM dispatches") == [("done",)]
    send(ledger, Missing(services=("yolov8",), resume=False))
    assert rows("SELECT DISTINCT state FROM dispatches") == [("queued",)]


def test_two_producers_at_once_send_nothing_twice(database, images):
    sent, meet = [], threading.Barrier(2)

    def produce():
        meet.wait(PATIENCE)
        with closing(PostgresLedger(database, "producer")) as own:
            sent.extend(send(own, Missing(services=SERVICES)))

    threads = [threading.Thread(target=produce) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(asked(sent)) == [(image, SERVICES) for image in images]


def test_stale_is_what_another_version_answered_and_is_not_under_way(images, store, ledger):
    one, two, three = images
    store.save(
        [done(one, model_version="v1"), done(two, model_version="v2"), done(three, model_version="v1")]
    )
    store.save([dispatched(three, State.QUEUED, version="v2")])
    stale = ImagesAgain(services=("yolov8",), which=Which.STALE, version="v2")
    assert ledger.count(stale) == {"yolov8": 1}
    (again,) = send(ledger, stale)
    assert (again.job.image.image_id, again.job.version) == (one, "v2")
    assert ledger.count(stale) == {}


def test_what_failed_is_sent_again_for_the_version_it_was_for(images, store, ledger, rows):
    failed = {"error_class": "ServiceRejected", "error": "400"}
    store.save([dispatched(images[0], State.FAILED, version="v3", **failed), done(images[1])])
    (again,) = send(ledger, ImagesAgain(services=("yolov8",), which=Which.FAILED))
    assert (again.job.image.image_id, again.job.version) == (images[0], "v3")
    assert rows("SELECT state, error_class, attempts FROM dispatches WHERE version = 'v3'") == [
        ("queued", None, 0)
    ]


def test_what_a_later_version_has_answered_is_no_failure_any_more(images, store, ledger):
    one = images[0]
    store.save([dispatched(one, State.FAILED, error_class="ServiceRejected", error="400")])
    send(ledger, ImagesAgain(services=("yolov8",), which=Which.ALL, version="v2", group="demo"))
    store.save([done(one, asked="v2", model_version="v2")])
    assert send(ledger, ImagesAgain(services=("yolov8",), which=Which.FAILED)) == []


def test_a_whole_group_is_sent_again(images, store, ledger):
    store.save([done(images[0])])
    everything = ImagesAgain(services=("yolov8",), which=Which.ALL, group="demo")
    assert [image for image, _ in asked(send(ledger, everything))] == images


def test_boxes_and_stages_are_made_again(images, store, ledger):
    one = images[0]
    store.save([done(one), merged(one, CAT_BOX)])
    store.save([crop_result(one, CAT_BOX.key, model_version="c 1")])
    boxes = {"services": ("bbox_colors",), "kept_as": "colors"}
    (again,) = send(ledger, BoxesAgain(**boxes, which=Which.STALE, version="c 2"))
    assert again.job.box == BoxRef(key=CAT_BOX.key, box=CAT_BOX.crop)
    assert send(ledger, BoxesAgain(**boxes, which=Which.STALE, version="c 1")) == []
    assert send(ledger, BoxesAgain(**boxes, which=Which.FAILED)) == []
    assert send(ledger, BoxesAgain(**boxes, which=Which.ALL, only="🧑")) == []
    store.recompute([one], lambda snapshot: MERGER(snapshot, resumed=False))
    stale = {"services": ("bbox_merger",), "which": Which.STALE}
    assert send(ledger, StagesAgain(**stale, rule="another 9")) != []
    assert send(ledger, StagesAgain(**stale, rule=str(merging.rule(AVERAGE)))) == []


def test_crops_that_failed_are_made_again(images, store, ledger):
    one, two, *_ = images
    store.save([done(image) for image in (one, two)])
    store.save([merged(one, CAT_BOX, DOG_BOX), merged(two, CAT_BOX)])
    failed = {"status": Status.ERROR, "data": '{"error": {}}'}
    store.save([crop_result(one, CAT_BOX.key), crop_result(one, DOG_BOX.key, **failed)])
    store.save([crop_result(two, CAT_BOX.key, "ocr", **failed)])
    again = BoxesAgain(services=("bbox_colors",), kept_as="colors", which=Which.FAILED)
    assert [(d.job.image.image_id, d.job.box.key) for d in send(ledger, again)] == [(one, DOG_BOX.key)]
    assert send(ledger, replace(again, only="🧑")) == []


def test_small_windows_bring_all_that_is_lost(images, store, ledger):
    """Of each image all services and versions together, though each window holds one image."""
    parked = {"state": State.PARKED, "error": "down"}
    store.save(
        [
            dispatched(images[0], **parked),
            dispatched(images[0], State.QUEUED, "blip"),
            dispatched(images[0], State.QUEUED, "blip", version="2"),
            dispatched(images[1], State.QUEUED, "blip"),
            dispatched(images[1], service="yolov8"),
            dispatched(images[2], State.QUEUED),
        ]
    )
    lost = LostDispatches(services=("yolov8", "blip"), before=ledger.begin_count())
    ledger.end_count()
    found, after = [], 0
    for _ in range(3):
        dispatches, after = ledger.send(lost, lambda _: None, after=after, limit=1)
        found.append({(d.job.image.image_id, d.job.version, d.services) for d in dispatches})
    assert found == [
        {(images[0], "", ("blip", "yolov8")), (images[0], "2", ("blip",))},
        {(images[1], "", ("blip",))},
        {(images[2], "", ("yolov8",))},
    ]


@pytest.mark.parametrize(("which", "marked"), [({"group": "demo"}, 1), ({"stale": True}, 0)])
def test_a_stage_works_where_it_has_seen_all_if_a_person_asks(images, store, database, rows, which, marked):
    store.save([done(images[0])])
    store.recompute(images, lambda snapshot: VOTER(snapshot, resumed=False))
    rows("UPDATE stages SET rule = 'an older one'")
    told = {"stale": False, "failed": False, "group": None, "version": None, "limit": None}
    told |= {"service": "consensus", "dry_run": False, "json": True, **which}
    rerun.run(argparse.Namespace(**told), replace(database, broker="postgres"))
    assert rows("SELECT queue, deliveries FROM jobs") == [("queue_consensus", marked)]  # as in hand before


def test_what_lies_in_no_queue_is_lost_and_only_that(images, store, ledger):
    send(ledger, Missing(services=SERVICES))
    store.save([done(images[0])])
    before = ledger.begin_count()
    ledger.counted("yolov8", [Job(image=Image(image_id=images[1], path="x"))])
    ledger.counted("blip", [Job(image=Image(image_id=image, path="x")) for image in images[:2]])
    ledger.end_count()
    lost = LostDispatches(services=SERVICES, before=before)
    assert ledger.count(lost) == {"blip": 1, "yolov8": 1}
    assert asked(send(ledger, lost)) == [(images[2], ("blip", "yolov8"))]
    before = ledger.begin_count()
    ledger.end_count()
    assert ledger.count(LostDispatches(services=("nobody",), before=before)) == {}


def test_a_stage_that_has_not_seen_every_reply_is_behind(images, store, ledger):
    one, two, _ = images
    store.save([done(one), done(one, "blip", service_types=("semantic",)), done(two)])

    def behind(stage):
        before = ledger.begin_count()
        ledger.end_count()
        return [image for image, _ in asked(send(ledger, LostStage(services=(stage,), before=before)))]

    assert behind("bbox_merger") == [one, two]
    assert behind("consensus") == [one, two]
    store.recompute([one, two], lambda snapshot: MERGER(snapshot, resumed=False))
    store.recompute([one], lambda snapshot: VOTER(snapshot, resumed=False))
    assert behind("bbox_merger") == []
    assert behind("consensus") == [two]
    store.recompute([two], lambda snapshot: VOTER(snapshot, resumed=False))
    assert behind("consensus") == []
    store.save([done(two, "rtdetr")])
    assert behind("bbox_merger") == [two]
    store.recompute([two], lambda snapshot: MERGER(snapshot, resumed=False))
    assert behind("consensus") == [two]


def test_marks_in_python_are_those_in_sql(images, store, ledger, rows):
    store.save([done(images[0])])
    store.recompute([images[0]], lambda snapshot: MERGER(snapshot, resumed=False))
    found = []
    store.recompute(
        [images[0]],
        lambda snapshot: found.extend((seen.by_merger(snapshot), seen.by_voter(snapshot))) or Outcome(),
    )
    in_sql = rows("SELECT service, (extract(epoch FROM result_created) * 1000000)::bigint FROM results")
    assert found[0] == dict(in_sql)
    changed = rows("SELECT (extract(epoch FROM changed_at) * 1000000)::bigint FROM stages")[0][0]
    assert found[1] == dict(in_sql) | {"bbox_merger": changed}


def test_crops_and_captions_without_an_answer_are_lost(images, store, ledger):
    one, two, _ = images
    said = '{"status": "success", "predictions": [{"text": ""}, {"text": "a cat"}]}'
    store.save([merged(one, CAT_BOX), merged(two, CAT_BOX)])
    store.save([crop_result(two, CAT_BOX.key), done(one, "blip", data=said), done(two, "blip", data=said)])
    before = ledger.begin_count()
    scored = Job(image=Image(image_id=two, path="x"), caption=Caption(service="blip", text="a cat"))
    ledger.counted("caption_score", [scored])
    ledger.end_count()
    (crop,) = send(ledger, LostCrops(services=("bbox_colors",), kept_as="colors", before=before))
    assert (crop.job.image.image_id, crop.job.box.key) == (one, CAT_BOX.key)
    assert send(ledger, LostCrops(services=("bbox_face",), kept_as="face", before=before, only="🧑")) == []
    captions = LostCaptions(services=("caption_score",), captioners=("blip",), before=before)
    (caption,) = send(ledger, captions)
    assert (caption.job.image.image_id, caption.job.caption) == (one, Caption(service="blip", text="a cat"))


def test_the_crop_of_a_box_is_lost_though_a_reply_refined_it_meanwhile(images, store, ledger):
    one = images[0]
    store.save([merged(one, CAT_BOX)])
    before = ledger.begin_count()
    ledger.end_count()
    store.save([merged(one, replace(CAT_BOX, score=0.5)), merged(images[1], CAT_BOX)])
    (crop,) = send(ledger, LostCrops(services=("bbox_colors",), kept_as="colors", before=before))
    assert crop.job.image.image_id == one


def test_the_last_hours_rate(images, store, ledger, rows):
    assert ledger.last_hour("yolov8") == (0, 0.0)
    store.save([done(image) for image in images])
    rows("UPDATE dispatches SET settled_at = now() - image_id * interval '1 minute'")
    assert ledger.last_hour("yolov8") == (3, 120.0)


def dead(image_id, service="blip", error_class="ServiceRejected", version=""):
    body = wire.encode(Job(image=Image(image_id=image_id, path="x"), version=version))
    rows = (
        *dispatched(image_id, State.FAILED, service, error_class=error_class, error="400").rows,
        DeadRow(
            service=service, image_id=image_id, body=body, attempts=4, error_class=error_class, error="400"
        ),
    )
    return Outcome(rows=rows)


def test_the_dead_are_grouped_with_a_sample(images, store, graveyard):
    store.save([dead(images[0]), dead(images[1]), dead(images[2], error_class="BadReply")])
    first, second = graveyard.groups(Matching(service="blip"))
    assert (first.error_class, first.count) == ("BadReply", 1)
    assert (second.error_class, second.count, second.sample_image) == ("ServiceRejected", 2, "/p/1.jpg")
    assert graveyard.groups(Matching(service="ocr")) == []
    (shown,) = graveyard.jobs(Matching(image_id=images[0]), after=0, limit=5)
    assert (shown.attempts, shown.error, wire.decode(shown.body).image.image_id) == (4, "400", images[0])


def test_replaying_sends_the_job_and_asks_for_it_anew(images, store, graveyard, rows):
    store.save([dead(images[0]), dead(images[1], error_class="BadReply")])
    store.save(
        [
            Outcome(
                rows=(
                    DeadRow(
                        service="blip",
                        image_id=None,
                        body=b"?",
                        attempts=1,
                        error_class="MessageError",
                        error="?",
                    ),
                )
            )
        ]
    )
    sent = []
    window, end = graveyard.replay(Matching(), sent.extend, after=0, limit=9)
    assert asked(sent) == asked(window) == [(images[0], ("blip",)), (images[1], ("blip",))]
    assert graveyard.replay(Matching(), sent.extend, after=end, limit=9) == ([], end)
    assert rows("SELECT DISTINCT state, error_class FROM dispatches") == [("queued", None)]
    assert rows("SELECT error_class FROM dead_jobs") == [("MessageError",)]


def test_what_dies_again_while_it_is_replayed_stays_dead(images, store, graveyard):
    store.save([dead(images[0])])
    before = graveyard.now()
    again = Matching(before=before)
    window, end = graveyard.replay(again, lambda _: store.save([dead(images[0])]), after=0, limit=9)
    assert len(window) == 1
    assert graveyard.replay(again, len, after=0, limit=9) == ([], 0)
    assert graveyard.groups(Matching())[0].count == 1
    assert end > 0


def test_asking_again_for_one_box_leaves_the_others_dead(images, store, graveyard, ledger):
    one = images[0]
    store.save([merged(one, CAT_BOX)])
    for key in (CAT_BOX.key, "another box"):
        job = Job(image=Image(image_id=one, path="/p/0.jpg"), box=BoxRef(key=key, box=CAT_BOX.crop))
        row = DeadRow(
            service="bbox_colors",
            image_id=one,
            body=wire.encode(job),
            attempts=4,
            error_class="ServiceBusy",
            error="500",
        )
        store.save([Outcome(rows=(row,))])
    send(ledger, BoxesAgain(services=("bbox_colors",), kept_as="colors", which=Which.ALL))
    (left,) = graveyard.jobs(Matching(), after=0, limit=9)
    assert wire.decode(left.body).box.key == "another box"


def test_a_stage_that_is_asked_again_is_dead_no_more(images, store, graveyard, ledger):
    store.save([done(images[0]), dead(images[0], "bbox_merger")])
    failed = StagesAgain(services=("bbox_merger",), which=Which.FAILED, rule="")
    assert len(send(ledger, failed)) == 1
    assert send(ledger, failed) == []
    assert graveyard.groups(Matching()) == []


def test_a_replay_that_cannot_be_sent_leaves_the_dead_dead(images, store, graveyard):
    store.save([dead(images[0])])
    with pytest.raises(ZeroDivisionError):
        graveyard.replay(Matching(), lambda window: 1 / 0, after=0, limit=9)
    assert graveyard.groups(Matching())[0].count == 1


def test_what_is_dropped_is_skipped_and_says_why(images, store, graveyard, ledger, rows):
    store.save([dead(images[0]), dead(images[1], error_class="BadReply")])
    assert graveyard.drop(Matching(error_class="BadReply")) == 1
    assert rows("SELECT state, last_error FROM dispatches WHERE image_id = %s", images[1]) == [
        ("skipped", "dropped by hand; it was BadReply: 400")
    ]
    assert [one.error_class for one in graveyard.groups(Matching())] == ["ServiceRejected"]
    assert (images[1], ("blip",)) not in missing(ledger, ("blip",))


def test_asking_again_takes_a_job_from_the_dead(images, store, graveyard, ledger):
    store.save([dead(images[0])])
    send(ledger, ImagesAgain(services=("blip",), which=Which.FAILED))
    assert graveyard.groups(Matching()) == []


def test_of_images_that_go_to_different_services_each_pair_is_noted_and_no_other(
    images, store, graveyard, ledger, rows
):
    one, two, three = images
    store.save([done(one)])
    store.save([dead(one, "yolov8"), dead(two, "yolov8")])
    ledger.send(Missing(services=SERVICES), lambda window: None, after=0, limit=9)
    assert rows("SELECT image_id, service FROM dispatches WHERE state = 'queued' ORDER BY 1, 2") == [
        (one, "blip"),
        *((image, service) for image in (two, three) for service in ("blip", "yolov8")),
    ]
    assert [
        wire.decode(left.body).image.image_id for left in graveyard.jobs(Matching(), after=0, limit=9)
    ] == [one]


def test_the_history_of_an_image_is_found_by_any_of_its_names(database, images, store):
    one = images[0]
    store.save([done(one), merged(one, CAT_BOX)])
    store.save([crop_result(one, CAT_BOX.key)])
    store.recompute([one], lambda snapshot: MERGER(snapshot, resumed=False))
    with closing(PostgresHistories(database, "why")) as histories:
        assert histories.find("0.jpg") == histories.find("/p/0.jpg") == histories.find(str(one)) == [one]
        assert histories.find("nothing") == []
        history = histories.of(one)
    assert [(row.service, row.state, row.found) for row in history.asked] == [("yolov8", "done", 1)]
    assert (history.boxes, history.people) == (1, 0)
    assert [(row.service, row.done) for row in history.looked] == [("colors", 1)]
    assert history.made[0].seen.keys() == {"yolov8"}


def test_the_history_knows_which_replies_hold_a_text(database, images, store):
    one, _, _ = images
    for service, predictions in (
        ("blip", '[{"text": ""}, {"text": "a cat"}]'),
        ("ollama", '[{"text": ""}, {"text": null}, {"emoji": "🐈"}]'),
        ("ocr", "[]"),
    ):
        store.save([result(one, service, data=f'{{"status": "success", "predictions": {predictions}}}')])
    with closing(PostgresHistories(database, "why")) as histories:
        history = histories.of(one)
    assert [service for service, _, _ in history.replies] == ["blip", "ocr", "ollama"]
    assert history.texts == ("blip",)
