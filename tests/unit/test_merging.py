"""Merged boxes: who agrees, what stands, and what a further reply may not touch."""

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windmill.core import classes
from windmill.core.geometry import iou, pixel_bounds, rounded, weighted_mean
from windmill.core.merging import merge
from windmill.model import Box, Detection, ServiceReply, StoredReply

ANYONES, COCO = classes.words("unknown"), classes.words("coco").knows
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def box(x, y, width, height):
    return Box(x=x, y=y, width=width, height=height)


def seen(emoji, confidence, where, label=""):
    label = label or emoji
    meant = ANYONES.class_of(label, emoji)
    return Detection(label=label, emoji=emoji, confidence=confidence, class_name=meant, box=where)


def reply(service, *detections, result_id=None, types=("spatial",), knows=COCO):
    number = sum(map(ord, service)) if result_id is None else result_id
    spoken = ServiceReply(service=service, service_types=types, knows=knows, detections=detections)
    return StoredReply(result_id=number, created=NOW, reply=spoken)


def test_two_detectors_that_agree_make_one_box_with_both_as_evidence():
    merged = merge(
        [
            reply("yolov8", seen("🧑", 0.9, box(10, 10, 100, 200), "person"), result_id=1),
            reply("rtdetr", seen("👩", 0.6, box(20, 10, 100, 200), "woman"), result_id=2),
        ]
    )
    assert len(merged) == 1
    assert merged[0].emoji == "🧑"
    assert merged[0].labels == ("person", "woman")
    assert merged[0].contributing_services == ("rtdetr", "yolov8")
    assert merged[0].detection_count == 2
    assert merged[0].source_result_ids == (1, 2)
    assert merged[0].box == box(14, 10, 100, 200)  # corners weighted 0.9 : 0.6
    assert merged[0].avg_confidence == merged[0].score == 0.75


BOTH = ("spatial", "classification")


def test_a_classifier_that_draws_no_boxes_does_not_speak_against_any():
    weak = reply("yolov8", seen("🧑", 0.3, box(0, 0, 50, 50)))
    elsewhere = seen("🐈", 0.9, box(60, 60, 30, 30))
    assert merge([weak, reply("xception", types=BOTH)]) == merge([weak])
    assert [one.emoji for one in merge([weak, reply("clip", elsewhere, types=BOTH)])] == ["🐈"]


def test_different_classes_at_one_place_stay_apart():
    where = box(0, 0, 50, 50)
    merged = merge([reply("a", seen("🐈", 0.9, where)), reply("b", seen("🐕", 0.9, where))])
    assert {one.emoji for one in merged} == {"🐈", "🐕"}


def test_objects_without_an_emoji_are_classed_by_their_label():
    where = box(0, 0, 50, 50)
    merged = merge(
        [reply("a", seen("", 0.9, where, "Forklift")), reply("b", seen("", 0.8, where, "forklift"))]
    )
    assert [one.detection_count for one in merged] == [2]


def test_a_service_has_one_vote_in_a_box():
    twice = (seen("🚗", 0.9, box(0, 0, 100, 100)), seen("🚗", 0.8, box(2, 0, 100, 100)))
    assert [one.detection_count for one in merge([reply("a", *twice)])] == [1]


def test_two_objects_that_overlap_stay_two():
    pair = (seen("🧑", 0.9, box(0, 0, 100, 100)), seen("🧑", 0.8, box(40, 0, 100, 100)))
    merged = merge([reply("a", *pair), reply("b", *pair)])
    assert [one.detection_count for one in merged] == [2, 2]


def test_a_lone_weak_detection_stands_only_while_no_one_else_has_looked():
    weak = reply("a", seen("🦓", 0.4, box(0, 0, 50, 50)))
    assert len(merge([weak])) == 1
    assert merge([weak, reply("b")]) == ()


def test_a_lone_strong_detection_stands_against_one_silence():
    assert len(merge([reply("a", seen("🦓", 0.9, box(0, 0, 50, 50))), reply("b")])) == 1


def test_the_score_says_how_many_of_those_who_looked_agree():
    where = box(0, 0, 50, 50)
    agreed = [reply(name, seen("🐈", 0.8, where)) for name in ("a", "b")]
    assert merge(agreed)[0].score == pytest.approx(0.8)
    assert merge([*agreed, reply("c")])[0].score == pytest.approx(0.5333)


def test_who_does_not_know_a_class_has_no_voice_against_it():
    horn = reply("yolo_oi7", seen("", 0.3, box(0, 0, 50, 50), "French horn"), knows={"french horn", "person"})
    assert [one.score for one in merge([horn, reply("yolov8"), reply("rtdetr")])] == [0.3]
    assert merge([horn, reply("yolo_365", knows={"french horn"})]) == ()


def test_a_vocabulary_nobody_declared_speaks_for_what_it_sees_and_against_nothing():
    cat = seen("🐈", 0.3, box(0, 0, 50, 50))
    assert [one.score for one in merge([reply("yolov8", cat), reply("mine", knows=None)])] == [0.3]
    assert merge([reply("yolov8"), reply("mine", cat, knows=None)]) == ()
    strong = seen("🐈", 0.6, box(0, 0, 50, 50))
    both = merge([reply("yolov8", strong), reply("mine", strong, knows=None), reply("rtdetr")])
    assert [one.score for one in both] == [pytest.approx(0.4)]


def test_a_merged_box_shows_the_emoji_of_the_strongest_that_has_one():
    where = box(0, 0, 50, 50)
    bare, rover = seen("", 0.9, where, "car"), seen("🚙", 0.5, where, "car")
    assert [one.emoji for one in merge([reply("a", bare), reply("b", rover)])] == ["🚙"]


def test_replies_that_are_not_spatial_are_not_asked():
    assert merge([reply("face", seen("🙂", 0.9, box(0, 0, 9, 9)), types=("specialized",))]) == ()


def test_a_reply_that_says_nothing_about_a_box_does_not_move_it():
    cat = [reply("a", seen("🐈", 0.9, box(0, 0, 50, 50))), reply("b", seen("🐈", 0.8, box(2, 0, 50, 50)))]
    before = merge(cat)
    after = merge([*cat, reply("c", seen("🐕", 0.9, box(300, 300, 50, 50)))])
    assert before[0].key in {one.key for one in after}
    assert next(one for one in after if one.emoji == "🐈").box == before[0].box


places = st.builds(
    seen,
    st.sampled_from(["🧑", "🚗", ""]),
    st.integers(1, 20).map(lambda n: n / 20),
    st.builds(box, *[st.integers(0, 40)] * 2, *[st.integers(5, 40)] * 2),
)


@given(st.lists(st.lists(places, max_size=4), min_size=1, max_size=3))
def test_the_order_of_services_is_nothing(detections):
    stored = [reply("abc"[n], *own) for n, own in enumerate(detections)]
    results = {merge(order) for order in itertools.permutations(stored)}
    assert len(results) == 1


@given(st.lists(st.lists(places, max_size=5), min_size=1, max_size=4))
def test_scores_lie_between_0_and_1_and_keys_are_unique(detections):
    merged = merge([reply("abcd"[n], *own) for n, own in enumerate(detections)])
    assert all(0 <= one.score <= 1 for one in merged)
    assert len({one.key for one in merged}) == len(merged)


def test_iou_of_boxes_that_touch_or_have_no_area_is_0():
    assert iou(box(0, 0, 10, 10), box(10, 0, 10, 10)) == 0
    assert iou(box(0, 0, 0, 10), box(0, 0, 10, 10)) == 0
    assert iou(box(0, 0, 10, 10), box(0, 0, 10, 5)) == 0.5
    assert iou(box(0, 0, 1e-200, 1e-200), box(0, 0, 1e-200, 1e-200)) == 0


def test_a_mean_of_boxes_without_weight_counts_each_alike():
    assert weighted_mean([box(0, 0, 10, 10), box(10, 0, 10, 10)], [0, 0]) == box(5, 0, 10, 10)


def test_a_rounded_box_keeps_an_area_and_its_bounds_hold_it():
    assert rounded(box(1.04, 2.06, 0.01, 3)) == box(1.0, 2.1, 0.1, 3)
    assert pixel_bounds(box(1.2, 2.8, 0.1, 3)) == (1, 2, 2, 6)
