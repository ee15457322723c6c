"""The consensus, rule by rule."""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from windmill import catalog
from windmill.core import documents
from windmill.core.voting import vote
from windmill.model import Box, Detection, Mention, MergedBox, ServiceReply, SourcedDetection, StoredReply

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Box(x=0, y=0, width=10, height=10)


def reply(service, *emojis, words=(), full=(), found=None, text="", seconds=0.5):
    spoken = ServiceReply(
        service=service,
        service_types=catalog.facts(service).service_types,
        knows=None,
        detections=tuple(
            Detection(label=e, emoji=e, confidence=0.9, class_name=e, box=PLACE) for e in emojis
        ),
        full_image=tuple(Detection(label=e, emoji=e, confidence=0.6, class_name=e) for e in full),
        mentions=tuple(Mention(emoji=e, word=w) for e, w in words),
        text=text,
        processing_time=seconds,
        found=len(emojis) if found is None else found,
    )
    return StoredReply(result_id=1, created=NOW, reply=spoken)


def merged(emoji, *services, confidence=0.8):
    detection = Detection(label=emoji, emoji=emoji, confidence=confidence, class_name=emoji, box=PLACE)
    sources = tuple(SourcedDetection(service=s, result_id=1, detection=detection) for s in services)
    return MergedBox(
        key=f"{emoji} {services}",
        class_name=emoji,
        emoji=emoji,
        label=emoji,
        labels=(emoji,),
        box=PLACE,
        crop=PLACE,
        score=confidence,
        avg_confidence=confidence,
        detections=sources,
    )


def ranking(replies, boxes=()):
    return {one.emoji: one for one in vote(replies, boxes).votes}


def test_an_emoji_needs_two_services_and_counts_each_once():
    ranked = ranking([reply("yolov8", "🚗", "🚗", "🚌"), reply("rtdetr", "🚗")])
    assert list(ranked) == ["🚗"]
    assert ranked["🚗"].votes == 2
    assert ranked["🚗"].services == ("rtdetr", "yolov8")
    assert ranked["🚗"].final_score == 4  # 2 votes, weight 2


def test_boxes_that_two_services_agree_on_are_spatial_evidence_and_no_vote():
    boxes = [merged("🚗", "yolov8", "rtdetr", "clip"), merged("🚗", "yolov8", "clip", confidence=0.4)]
    car = ranking([reply("yolov8", "🚗"), reply("rtdetr", "🚗")], [*boxes, merged("🚗", "yolov8")])["🚗"]
    assert car.votes == 2
    assert car.evidence.spatial.detection_count == 3
    assert car.evidence.spatial.instance_count == 2
    assert car.evidence.spatial.avg_confidence == pytest.approx(0.6)
    assert car.boxes == tuple(boxes)
    assert car.evidence_weight == 2 + (3 - 1)


def test_a_box_that_is_a_taxi_to_one_and_a_car_to_another_is_evidence_for_both():
    car, taxi = merged("🚗", "yolov8"), merged("🚕", "rtdetr")
    both = replace(car, detections=(*car.detections, *taxi.detections))
    heard = [reply("yolov8", "🚗"), reply("rtdetr", "🚕"), reply("clip", full=["🚗", "🚕"])]
    found = ranking(heard, [both])
    assert {one.emoji: one.evidence.spatial.detection_count for one in found.values()} == {"🚗": 2, "🚕": 2}


def test_captioners_that_agree_add_weight_and_give_their_words():
    wave = ranking([reply("blip", words=[("🌊", "wave")]), reply("ollama", words=[("🌊", "sea")])])["🌊"]
    assert wave.evidence.semantic.words == ("sea", "wave")
    assert wave.evidence.semantic.service_count == 2
    assert wave.evidence_weight == 2 + 1


def test_one_captioner_adds_no_bonus():
    assert (
        ranking([reply("blip", words=[("🌊", "wave")]), reply("clip", full=["🌊"])])["🌊"].evidence_weight
        == 2
    )


def test_what_is_said_of_the_full_image_is_classification():
    wave = ranking([reply("clip", full=["🌊"]), reply("xception", full=["🌊"])])["🌊"]
    assert wave.evidence.classification.sources == ("clip", "xception")
    assert wave.evidence_weight == 2 + 1
    assert wave.evidence.spatial is None


def test_variants_of_an_emoji_are_one_group():
    assert ranking([reply("yolov8", "✈️"), reply("blip", words=[("✈", "plane")])])["✈"].votes == 2


def test_votes_rank_before_weight_and_ties_go_by_emoji():
    replies = [
        reply("yolov8", "🐈", "🚗", "🐕"),
        reply("rtdetr", "🐈", "🚗", "🐕"),
        reply("detectron2", "🚗"),
    ]
    boxes = [merged("🐈", "a", "b", "c", "d", "e", "f")]
    assert [one.emoji for one in vote(replies, boxes).votes] == ["🚗", "🐈", "🐕"]
    assert [one.emoji for one in vote(replies, []).votes] == ["🚗", "🐈", "🐕"]


def test_a_face_in_the_ranking_and_a_pose_confirm_a_person():
    people = [reply("yolov8", "🧑"), reply("rtdetr", "🧑")]
    assert ranking(people)["🧑"].validation == ()
    faces = [reply("face", "🙂"), reply("blip", words=[("🙂", "smile")])]
    posed = reply("pose", found=1)
    person = ranking([*people, *faces, posed])["🧑"]
    assert person.validation == ("face_confirmed", "pose_confirmed")
    assert person.evidence_weight == 2 + 2
    assert person.final_score == 2 + 4


def test_an_empty_pose_confirms_nothing():
    people = [reply("yolov8", "🧑"), reply("rtdetr", "🧑"), reply("pose", found=0)]
    assert ranking(people)["🧑"].validation == ()


def test_nudity_without_a_human_is_suspicious():
    nude = [reply("nsfw2", "🔞"), reply("blip", words=[("🔞", "nude")])]
    alone = ranking(nude)["🔞"]
    assert (alone.validation, alone.evidence_weight) == (("suspicious_no_humans",), 1)
    people = [reply("yolov8", "🧑"), reply("rtdetr", "🧑")]
    with_people = ranking([*nude, *people])["🔞"]
    assert (with_people.validation, with_people.evidence_weight) == (("human_context_confirmed",), 3)


def test_specialists_are_named():
    face = ranking([reply("face", "🙂"), reply("blip", words=[("🙂", "smile")])])["🙂"]
    assert face.evidence.specialized == ("face",)


def test_special_stands_beside_the_ranking():
    result = vote([reply("ocr", "💬", text="STOP"), reply("face"), reply("nsfw2", "🔞")], [])
    assert (result.text.detected, result.text.content, result.text.confidence) == (True, "STOP", 0.9)
    assert not result.face.detected
    assert result.nsfw.detected
    assert result.votes == ()


def test_colours_and_empty_emoji_never_vote():
    assert ranking([reply("colors", "🟦"), reply("nsfw2", "🟦")]) == {}
    assert ranking([reply("metadata"), reply("yolov8", ""), reply("rtdetr", "")]) == {}


def test_a_shiny_mention_makes_the_vote_shiny():
    shiny = reply("blip")
    mention = Mention(emoji="🌊", word="wave", shiny=True)
    shiny = replace(shiny, reply=replace(shiny.reply, mentions=(mention,)))
    assert ranking([shiny, reply("clip", full=["🌊"])])["🌊"].shiny


def test_the_consensus_says_who_spoke_and_for_how_long():
    result = vote([reply("yolov8", seconds=0.25), reply("blip", seconds=1.5)], [])
    assert result.services == ("blip", "yolov8")
    assert result.total_processing_time == 1.75
    assert result.latest_result_time == NOW


def test_the_order_of_services_is_nothing():
    replies = [
        reply("yolov8", "🧑", "🚗"),
        reply("rtdetr", "🚗"),
        reply("blip", words=[("🚗", "car")]),
        reply("clip", "🚗", full=["🧑"]),
    ]
    assert len({vote(order, []) for order in itertools.permutations(replies)}) == 1


def test_the_order_of_boxes_is_nothing():
    boxes = [
        merged("🚗", "yolov8", "rtdetr", confidence=0.4),
        merged("🚗", "yolov8", "clip"),
        merged("🚗", "rtdetr", "clip"),
    ]
    replies = [reply("yolov8", "🚗"), reply("rtdetr", "🚗")]
    assert len({vote(replies, order) for order in itertools.permutations(boxes)}) == 1


def test_a_whole_consensus_by_hand():
    """Rule by rule. 🌊 is named by one, which is none; a captioner's second word for 🧑 does not count.

    🧑: blip, clip, ollama, rtdetr, yolov8 = 5 votes; boxes of 3 detectors + 2, two captioners + 1, of one
    classifier nothing: weight 8; 🙂 is ranked + 1, pose found somebody + 1: 10, and 15 in all.
    🚗: clip and xception, of the whole image: 2 votes + 1. 🙂: blip, face: 2 votes, no bonus.
    """
    replies = [
        reply("blip", words=[("👩", "woman"), ("🙂", "smile")]),
        reply("ollama", words=[("🧑", "person"), ("🧑", "man")]),
        reply("yolov8", "🧑", "🧑"),
        reply("rtdetr", "👨"),
        reply("clip", "🧑", full=["🚗"]),
        reply("xception", full=["🚗", "🌊"]),
        reply("face", "🙂"),
        reply("pose", found=1),
        reply("ocr", "💬", text="STOP"),
    ]
    boxes = [merged("🧑", "yolov8", "rtdetr", "clip"), merged("🧑", "yolov8", "rtdetr", confidence=0.5)]
    said = json.loads(documents.consensus(vote(replies, boxes)))
    assert said["consensus_algorithm"] == "v3"
    assert said["services_count"] == 9
    rows = [
        (one["emoji"], one["votes"], one["evidence_weight"], one["final_score"])
        for one in said["votes"]["consensus"]
    ]
    assert rows == [("🧑", 5, 10, 15), ("🚗", 2, 3, 5), ("🙂", 2, 2, 4)]
    person = said["votes"]["consensus"][0]
    assert person["instances"] == {"count": 2, "type": "spatial"}
    assert person["evidence"] == {
        "spatial": {"detection_count": 3, "avg_confidence": 0.65, "instance_count": 2},
        "semantic": {"service_count": 2, "words": ["person", "woman"], "sources": ["blip", "ollama"]},
        "classification": None,
        "specialized": None,
    }
    assert person["validation"] == ["face_confirmed", "pose_confirmed"]
    fields = "emoji votes evidence_weight final_score instances evidence services bounding_boxes"
    assert list(person) == [*fields.split(), "validation", "shiny"]
    assert {name: one["detected"] for name, one in said["special"].items()} == {
        "text": True,
        "face": True,
        "nsfw": False,
    }
