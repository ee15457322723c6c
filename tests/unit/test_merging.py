"""Merged boxes: who agrees, what stands, and what a further reply may not touch."""

from dataclasses import replace
from datetime import UTC, datetime
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.detectors import AVERAGE
from windmill.core import classes, merging
from windmill.core.geometry import iou, pixel_bounds
from windmill.core.merging import STANDS, candidates, judged, merge
from windmill.model import Box, Detection, Detector, ServiceReply, StoredReply

ANYONES, COCO = classes.words("unknown"), classes.words("coco").knows
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# One of whom much is known, and one of whom little is; everyone else is average.
GOOD = Detector(right=0.5, slope=1.2, place=1.0, place_slope=0.4, silent=-0.9, count=500)
POOR = Detector(right=-1.5, slope=0.7, place=-0.5, place_slope=0.2, silent=-0.1, count=100)
KNOWN = replace(AVERAGE, known={"good": GOOD, "poor": POOR})


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


def sigmoid(log_odds):
    return 1 / (1 + exp(-log_odds))


def logit(share):
    return log(share / (1 - share))


def chance(detector, confidence):
    return sigmoid(detector.right + detector.slope * logit(confidence))


def score(right, silence=0.0, rival=0.0):
    return sigmoid(1.0 + 1.2 * logit(right) - 5.0 * rival**2 + silence)


def corners(where):
    return [where.x, where.y, where.x + where.width, where.y + where.height]


CAT, HERE = "🐈", box(0, 0, 100, 100)


def test_two_who_agree_make_one_box_as_the_rule_says():
    replies = [
        reply("good", seen("🧑", 0.9, box(10, 10, 100, 200), "person"), result_id=1),
        reply("poor", seen("👩", 0.6, box(20, 10, 100, 200), "woman"), result_id=2),
    ]
    good = exp(1.0 + 0.4 * log(9)) / (exp(1.0 + 0.4 * log(9)) + exp(-0.5 + 0.2 * log(1.5)))
    left = 10 * good + 20 * (1 - good)
    apart = 90 / 110  # the IoU of the two
    right = 1 - (1 - chance(GOOD, 0.9)) * (1 - chance(POOR, 0.6) * apart**2)
    (merged,) = merge(replies, KNOWN)
    assert corners(merged.box) == pytest.approx([left, 10, left + 100, 210], abs=0.005)
    assert merged.score == pytest.approx(score(right), abs=1e-6)
    assert merged.avg_confidence == 0.75
    assert (merged.emoji, merged.label, merged.labels) == ("🧑", "person", ("person", "woman"))
    assert (merged.crop, merged.key) == (box(10, 10, 100, 200), "person 10.0,10.0,100.0,200.0")
    assert merged.contributing_services == ("good", "poor")
    assert (merged.detection_count, merged.source_result_ids) == (2, (1, 2))


def test_the_surest_by_what_is_known_of_it_gives_the_crop():
    first, second = seen(CAT, 0.9, box(0, 0, 100, 90)), seen(CAT, 0.7, HERE)
    assert chance(GOOD, 0.7) > chance(POOR, 0.9)
    assert [one.crop for one in merge([reply("poor", first), reply("good", second)], KNOWN)] == [HERE]


def test_who_knows_a_class_and_does_not_see_it_lowers_a_box():
    cat = [reply("good", seen(CAT, 0.9, HERE))]
    assert merge([*cat, reply("poor")], KNOWN)[0].score == pytest.approx(
        score(chance(GOOD, 0.9), silence=-0.1), abs=1e-6
    )
    assert merge([*cat, reply("poor"), reply("anyone")], KNOWN)[0].score == pytest.approx(
        score(chance(GOOD, 0.9), silence=-0.1 - 0.4), abs=1e-6
    )


def test_a_surer_box_of_the_class_that_overlaps_lowers_a_box():
    sure, doubtful = seen(CAT, 0.9, HERE), seen(CAT, 0.8, box(50, 0, 100, 100))  # IoU 1/3
    first, second = candidates([reply("a", sure, doubtful), reply("b", knows=None), reply("good")], KNOWN)
    assert first.score == pytest.approx(score(chance(AVERAGE.average, 0.9), -0.9), abs=1e-6)
    assert second.score == pytest.approx(score(chance(AVERAGE.average, 0.8), -0.9, rival=1 / 3), abs=1e-6)


def test_what_one_alone_can_have_seen_stands_with_its_very_box():
    where = box(0.1, 0.2, 33.33, 7.77)
    weak = reply("poor", seen("🦓", 0.01, where), seen("🦓", 0.01, box(10, 0.2, 33.33, 7.77)))
    first, second = merge([weak], KNOWN)
    assert {first.box, second.box} == {where, box(10, 0.2, 33.33, 7.77)}
    assert first.score == second.score == pytest.approx(score(chance(POOR, 0.01)), abs=1e-6)  # no rivals
    assert merge([weak, reply("good")], KNOWN) == ()


def test_a_box_stands_from_the_threshold_once_several_can_have_seen_it():
    def stood(confidence):
        cat = reply("a", seen(CAT, confidence, HERE))
        (told,) = judged([cat, reply("b")], AVERAGE)
        return told.box.score, told.threshold, merge([cat, reply("b")], AVERAGE)

    results = [stood(n / 50) for n in range(51)]
    assert {threshold for _, threshold, _ in results} == {STANDS}
    assert all(bool(merged) == (rated >= STANDS) for rated, _, merged in results)
    assert {bool(merged) for _, _, merged in results} == {True, False}


@pytest.mark.parametrize(("bias", "stands"), [(0.0, True), (-1e-5, False)])
def test_a_box_exactly_at_the_threshold_stands(bias, stands):
    """Where nothing but the bias counts, the score is sigmoid(bias)."""
    indifferent = replace(AVERAGE, bias=bias, agreement=0.0, average=replace(AVERAGE.average, silent=0.0))
    assert bool(merge([reply("a", seen(CAT, 0.9, HERE)), reply("b")], indifferent)) is stands
    assert STANDS == 0.5


def test_merged_boxes_come_strongest_first():
    sure, agreed = seen(CAT, 0.8, box(500, 0, 100, 100)), seen(CAT, 0.7, HERE)
    said = [reply("a", sure, knows=None), reply("b", agreed, knows=None), reply("c", agreed, knows=None)]
    for found in (merge(said, AVERAGE), candidates(said, AVERAGE)):
        assert [one.crop for one in found] == [HERE, sure.box]
        assert found[0].score > found[1].score


TWINS = {
    "labels": (seen("🧑", 0.9, HERE, "someone"), seen("🧑", 0.9, HERE, "somebody")),
    "emoji": (seen("🧑", 0.9, HERE, "someone"), seen("👩", 0.9, HERE, "someone")),
    "shine": (seen(CAT, 0.9, HERE), replace(seen(CAT, 0.9, HERE), shiny=True)),
    "confidences that are all but 1": (seen(CAT, 1.0, HERE), seen(CAT, 0.9999999, HERE)),
}


@pytest.mark.parametrize("twins", TWINS.values(), ids=TWINS)
def test_of_two_detections_that_weigh_the_same_the_order_in_the_reply_is_nothing(twins):
    first, second = twins
    assert candidates([reply("a", first, second)], KNOWN) == candidates([reply("a", second, first)], KNOWN)


BOTH = ("spatial", "classification")


def test_a_classifier_that_draws_no_boxes_does_not_speak_against_any():
    weak = reply("yolov8", seen("🧑", 0.1, box(0, 0, 50, 50)))
    elsewhere = seen(CAT, 0.9, box(60, 60, 30, 30))
    assert merge([weak, reply("xception", types=BOTH)], AVERAGE) == merge([weak], AVERAGE) != ()
    assert [one.emoji for one in merge([weak, reply("clip", elsewhere, types=BOTH)], AVERAGE)] == [CAT]


def test_different_classes_at_one_place_stay_apart():
    merged = merge([reply("a", seen(CAT, 0.9, HERE)), reply("b", seen("🐕", 0.9, HERE))], AVERAGE)
    assert {one.emoji for one in merged} == {CAT, "🐕"}


def test_objects_without_an_emoji_are_classed_by_their_label():
    forklifts = [reply("a", seen("", 0.9, HERE, "Forklift")), reply("b", seen("", 0.8, HERE, "forklift"))]
    assert [one.detection_count for one in merge(forklifts, AVERAGE)] == [2]


def test_a_service_has_one_vote_in_a_box():
    twice = (seen("🚗", 0.9, HERE), seen("🚗", 0.8, box(2, 0, 100, 100)))
    assert [one.detection_count for one in merge([reply("a", *twice)], AVERAGE)] == [1, 1]
    first, second = candidates([reply("a", *twice), reply("b", twice[0])], AVERAGE)
    assert (first.contributing_services, second.contributing_services) == (("a", "b"), ("a",))
    assert second.score < STANDS < first.score


def test_what_a_service_says_twice_is_one_box():
    merged = merge([reply("a", *[seen(CAT, confidence, HERE) for confidence in (0.8, 0.9, 0.8)])], AVERAGE)
    assert [one.avg_confidence for one in merged] == [0.9]


def test_two_objects_that_overlap_stay_two():
    pair = (seen("🧑", 0.9, HERE), seen("🧑", 0.8, box(50, 0, 100, 100)))
    merged = merge([reply("a", *pair), reply("b", *pair)], AVERAGE)
    assert [one.detection_count for one in merged] == [2, 2]


def test_who_does_not_know_a_class_has_no_voice_against_it():
    horn = reply("yolo_oi7", seen("", 0.3, HERE, "French horn"), knows={"french horn", "person"})
    alone = merge([horn], AVERAGE)
    assert merge([horn, reply("yolov8"), reply("rtdetr")], AVERAGE) == alone
    (told,) = judged([horn, reply("yolo_365", knows={"french horn"}), reply("yolov8")], AVERAGE)
    assert told.box.score == pytest.approx(score(chance(AVERAGE.average, 0.3), -0.4), abs=1e-6)


def test_a_vocabulary_nobody_declared_speaks_for_what_it_sees_and_against_nothing():
    cat = seen(CAT, 0.3, HERE)
    assert merge([reply("yolov8", cat), reply("mine", knows=None)], AVERAGE) == merge(
        [reply("yolov8", cat)], AVERAGE
    )
    both = judged([reply("yolov8"), reply("mine", cat, knows=None)], AVERAGE)
    assert [(one.threshold, len(one.votes)) for one in both] == [(STANDS, 2)]
    agreed = merge([reply("yolov8", cat), reply("mine", cat, knows=None)], AVERAGE)
    assert agreed[0].score == pytest.approx(score(1 - (1 - chance(AVERAGE.average, 0.3)) ** 2), abs=1e-6)


def test_a_vocabulary_nobody_declared_contests_only_what_it_drew_a_box_over():
    cat = reply("yolov8", seen(CAT, 0.3, HERE))

    def stored(elsewhere):
        mine = reply("mine", seen(CAT, 0.9, elsewhere), knows=None)
        return [one.crop for one in merge([cat, mine], AVERAGE)]

    far, rival = box(5000, 5000, 100, 100), box(50, 0, 100, 100)
    assert stored(far) == [far, HERE]
    assert stored(rival) == [rival]


def test_a_merged_box_shows_the_emoji_of_its_surest_that_has_one():
    bare, rover = seen("", 0.9, HERE, "car"), seen("🚙", 0.5, HERE, "car")
    assert [one.emoji for one in merge([reply("a", bare), reply("b", rover)], AVERAGE)] == ["🚙"]


@pytest.mark.parametrize(("label", "shown"), [("airplane", ("✈️", "✈")), ("car", ("🚙", "🚙"))])
def test_a_merged_box_shows_the_emoji_of_its_surest_in_its_plain_form(label, shown):
    own, plain = shown
    less, surest = seen("🚗", 0.5, HERE, label), seen(own, 0.9, HERE, label)
    assert [one.emoji for one in merge([reply("a", less), reply("b", surest)], AVERAGE)] == [plain]


def test_replies_that_are_not_spatial_are_not_asked():
    assert merge([reply("face", seen("🙂", 0.9, HERE), types=("specialized",))], AVERAGE) == ()


def test_a_verdict_says_what_each_who_can_have_seen_the_box_brings():
    replies = [
        reply("poor", seen(CAT, 0.6, box(0, 0, 100, 90))),
        reply("good", seen(CAT, 0.9, HERE)),
        reply("third"),
        reply("blind", knows=frozenset()),
    ]
    (told,) = judged(replies, KNOWN)
    assert [one.service for one in told.votes] == ["good", "poor", "third"]
    assert sum(one.share for one in told.votes) == pytest.approx(1)
    assert [one.silence for one in told.votes] == [0, 0, -0.4]
    wrong = 1.0
    for vote, (detector, confidence) in zip(told.votes, [(GOOD, 0.9), (POOR, 0.6)], strict=False):
        assert vote.chance == pytest.approx(chance(detector, confidence))
        assert vote.counts == pytest.approx(vote.chance * vote.iou**2)
        assert vote.iou == pytest.approx(iou(vote.detection.box, told.box.crop))
        wrong *= 1 - vote.counts
    assert told.right == pytest.approx(1 - wrong)
    assert told.box.score == pytest.approx(score(told.right, -0.4), abs=1e-6)


def test_a_rule_is_known_by_what_was_learned():
    assert merging.rule(AVERAGE) == merging.rule(replace(AVERAGE))
    assert merging.rule(AVERAGE).calibration != merging.rule(KNOWN).calibration


def test_a_reply_that_refines_a_box_keeps_its_key_and_crop():
    cat = [reply("good", seen(CAT, 0.9, HERE)), reply("a", seen(CAT, 0.8, box(2, 0, 100, 100)))]
    (before,) = merge(cat, KNOWN)
    (after,) = merge([*cat, reply("b", seen(CAT, 0.7, box(8, 0, 100, 100)))], KNOWN)
    assert (after.key, after.crop) == (before.key, before.crop)
    assert after.box != before.box
    assert after.score > before.score


# Places and sizes are such that boxes meet often, and confidences such that they are often equal.
places = st.builds(
    seen,
    st.sampled_from(["🧑", "🚗"]),
    st.integers(0, 10).map(lambda n: n / 10),
    st.builds(
        box, *[st.integers(0, 6).map(lambda n: n * 7)] * 2, *[st.integers(4, 9).map(lambda n: n * 10)] * 2
    ),
    st.sampled_from(["", "", "someone"]),
)
SERVICES = ("a", "good", "poor", "z")
scenes = st.lists(st.lists(places, max_size=5), min_size=1, max_size=4).map(
    lambda said: [reply(name, *own) for name, own in zip(SERVICES, said, strict=False)]
)
few = settings(max_examples=30, deadline=None)


@few
@given(scenes, st.randoms())
def test_the_order_of_services_and_of_what_each_says_is_nothing(replies, random):
    shuffled = [
        replace(one, reply=replace(one.reply, detections=tuple(random.sample(said, len(said)))))
        for one in random.sample(replies, len(replies))
        for said in [one.reply.detections]
    ]
    assert candidates(shuffled, KNOWN) == candidates(replies, KNOWN)


@few
@given(scenes)
def test_scores_lie_between_0_and_1_and_keys_are_unique(replies):
    merged = candidates(replies, KNOWN)
    assert all(0 <= one.score <= 1 for one in merged)
    assert len({one.key for one in merged}) == len(merged)
    assert set(merge(replies, KNOWN)) <= set(merged)


@few
@given(scenes)
def test_every_detection_has_a_candidate_of_its_class_that_shows_it(replies):
    merged = candidates(replies, KNOWN)
    for stored in replies:
        for one in stored.reply.detections:
            crops = (other.crop for other in merged if other.class_name == one.class_name)
            assert max(iou(one.box, crop) for crop in crops) >= 0.65


@few
@given(scenes)
def test_merged_boxes_merged_again_are_the_same_boxes(replies):
    def drawn(boxes):
        return {(one.class_name, *(round(side, 2) for side in corners(one.box))) for one in boxes}

    merged = merge(replies, KNOWN)
    again = [
        Detection(
            label=one.label, emoji=one.emoji, confidence=one.score, class_name=one.class_name, box=one.box
        )
        for one in merged
    ]
    assert drawn(merge([reply("merged", *again)], KNOWN)) == drawn(merged)


@few
@given(st.permutations(["good", "poor"]), st.floats(0, 1), st.floats(0, 1), st.floats(65, 100), st.booleans())
def test_who_agrees_never_lowers_a_score(names, confidence, other, height, knowing):
    """Neither against its own silence, nor where nobody knows what it looks for, as if it were not there."""
    first, second = names
    seeing = reply(first, seen(CAT, confidence, HERE))
    knows = COCO if knowing else None
    word = reply(second, seen(CAT, other, box(0, 0, 100, height)), knows=knows)
    (agreed,) = candidates([seeing, word], KNOWN)
    (without,) = candidates([seeing, reply(second, knows=knows)], KNOWN)
    assert agreed.detection_count == 2
    assert agreed.score >= without.score - 1e-6


@few
@given(scenes, st.lists(places, max_size=4))
def test_a_reply_about_other_places_only_can_but_lower_scores(replies, said):
    """Nor can it unmake a candidate: it drew no box that overlaps another of its class by an IoU of 0.3."""
    old = [one for stored in replies for one in stored.reply.detections]
    away = [
        one
        for one in said
        if all(one.class_name != other.class_name or iou(one.box, other.box) < 0.3 for other in old)
    ]
    after = {one.key: one for one in candidates([*replies, reply("new", *away)], KNOWN)}
    for one in candidates(replies, KNOWN):
        assert replace(after[one.key], score=one.score) == one
        assert after[one.key].score <= one.score


@pytest.mark.parametrize("confidence", [0, 1])
def test_nobody_is_so_sure_or_unsure_that_there_is_no_score(confidence):
    alone = reply("a", seen(CAT, confidence, HERE))
    (first,) = candidates([alone, reply("b")], KNOWN)
    (second,) = candidates([alone, reply("good", seen(CAT, 0.5, HERE))], KNOWN)
    assert 0 <= first.score <= second.score <= 1
    assert second.score > 0.5


def test_iou_of_boxes_that_touch_or_have_no_area_is_0():
    assert iou(box(0, 0, 10, 10), box(10, 0, 10, 10)) == 0
    assert iou(box(0, 0, 0, 10), box(0, 0, 10, 10)) == 0
    assert iou(box(0, 0, 10, 10), box(0, 0, 10, 5)) == 0.5
    assert iou(box(0, 0, 1e-200, 1e-200), box(0, 0, 1e-200, 1e-200)) == 0


def test_the_bounds_of_a_box_hold_it():
    assert pixel_bounds(box(1.2, 2.8, 0.1, 3)) == (1, 2, 2, 6)
