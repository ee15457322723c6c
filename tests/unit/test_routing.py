"""What follows what."""

import json
from dataclasses import replace

from tests.detectors import AVERAGE
from tests.unit.test_merging import box, reply, seen
from windmill import catalog
from windmill.core.merging import merge
from windmill.core.routing import after_merge, after_result
from windmill.model import Image, ServiceReply, Snapshot

IMAGE = Image(image_id=7, path="/photos/7.jpg")
MERGER = catalog.facts("bbox_merger")


def loaded(name, tmp_path, **entry):
    path = tmp_path / "service_config.json"
    path.write_text(json.dumps({name: {"port": 7000, **entry}}), "utf-8")
    return catalog.load(path)[name]


def stages(dispatches):
    return {(d.job.box.key if d.job.box else None, d.services) for d in dispatches}


def said(service, text=""):
    return ServiceReply(service=service.name, service_types=service.service_types, knows=None, text=text)


def snapshot(*replies, **facts):
    return Snapshot(image=IMAGE, replies=replies, **facts)


PERSON = reply("yolov8", seen("🧑", 0.9, box(0, 0, 50, 90)))
CUP = reply("rtdetr", seen("☕", 0.9, box(100, 0, 20, 20)))


def test_a_detectors_result_is_merged_and_voted_on(tmp_path):
    detector = loaded("yolov8", tmp_path)
    assert stages(after_result(detector, IMAGE, said(detector))) == {(None, ("bbox_merger", "consensus"))}


def test_a_caption_is_voted_on_and_scored(tmp_path):
    captioner = loaded("blip", tmp_path)
    vote, score = after_result(captioner, IMAGE, said(captioner, "a wave"))
    assert vote.services == ("consensus",)
    assert score.services == ("caption_score",)
    assert (score.job.caption.service, score.job.caption.text) == ("blip", "a wave")


def test_without_a_caption_there_is_nothing_to_score(tmp_path):
    captioner = loaded("blip", tmp_path)
    assert stages(after_result(captioner, IMAGE, said(captioner))) == {(None, ("consensus",))}


def test_an_entrys_triggers_win(tmp_path):
    quiet = loaded("yolov8", tmp_path, triggers=["bbox_merger"])
    assert stages(after_result(quiet, IMAGE, said(quiet))) == {(None, ("bbox_merger",))}


def test_new_boxes_go_to_colours_and_people_to_face_and_pose_too():
    boxes = merge([PERSON, CUP], AVERAGE)
    person, cup = sorted(boxes, key=lambda one: one.emoji != "🧑")
    assert stages(after_merge(MERGER, snapshot(), boxes, resumed=False)) == {
        (None, ("consensus",)),
        (person.key, ("bbox_colors", "bbox_face", "bbox_pose")),
        (cup.key, ("bbox_colors",)),
    }


def test_whoever_is_of_the_class_person_goes_to_face_and_pose_whatever_the_emoji():
    rider = reply("yolo_oi7", seen("", 0.9, box(0, 0, 50, 90), "Man"))
    (person,) = merge([rider], AVERAGE)
    assert stages(after_merge(MERGER, snapshot(), [person], resumed=False)) == {
        (None, ("consensus",)),
        (person.key, ("bbox_colors", "bbox_face", "bbox_pose")),
    }


def test_a_box_that_stays_is_not_cropped_again():
    known = merge([PERSON], AVERAGE)
    both = merge([PERSON, CUP], AVERAGE)
    cup = next(one for one in both if one.emoji == "☕")
    followers = after_merge(MERGER, snapshot(boxes=known), both, resumed=False)
    assert stages(followers) == {(None, ("consensus",)), (cup.key, ("bbox_colors",))}


def test_nothing_follows_when_nothing_changed():
    boxes = merge([PERSON], AVERAGE)
    assert after_merge(MERGER, snapshot(boxes=boxes), boxes, resumed=False) == ()


def test_a_box_that_vanished_changes_the_consensus():
    assert stages(after_merge(MERGER, snapshot(boxes=merge([CUP], AVERAGE)), (), resumed=False)) == {
        (None, ("consensus",))
    }


def test_a_merge_that_died_on_the_way_sends_again_what_is_not_there_yet():
    boxes = merge([PERSON], AVERAGE)
    before = snapshot(boxes=boxes, postprocessed=frozenset({(boxes[0].key, "colors")}))
    assert stages(after_merge(MERGER, before, boxes, resumed=True)) == {
        (None, ("consensus",)),
        (boxes[0].key, ("bbox_face", "bbox_pose")),
    }


def test_only_the_boxs_own_triggers_follow():
    merger = replace(MERGER, triggers=("bbox_colors",))
    boxes = merge([PERSON], AVERAGE)
    assert stages(after_merge(merger, snapshot(), boxes, resumed=False)) == {(boxes[0].key, ("bbox_colors",))}
