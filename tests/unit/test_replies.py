"""Foreign shapes end at the door: every recorded shape is read, everything else is refused by name."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windmill import catalog
from windmill.core import replies
from windmill.errors import BadReply, ServiceError, ServiceRejected
from windmill.model import Box, Mention

SAMPLES = Path(__file__).parents[1] / "samples"


def parse(service: str, sample: str = ""):
    return replies.parse(catalog.facts(service), (SAMPLES / f"{sample or service}.json").read_bytes())


def parse_predictions(service: str, *predictions: object):
    body = {"status": "success", "predictions": list(predictions), "metadata": {}}
    return replies.parse(catalog.facts(service), json.dumps(body).encode())


def test_a_detector_reports_boxes_under_the_workers_name_for_it():
    reply = parse("yolov8")
    assert reply.service == "yolov8"
    assert reply.found == 2
    assert reply.processing_time == 0.303
    person = reply.detections[0]
    assert (person.label, person.emoji, person.confidence) == ("person", "🧑", 0.96)
    assert person.box == Box(x=249, y=16, width=391, height=434)


def test_a_captioner_reports_its_sentence_and_the_words_that_stand_for_emoji():
    reply = parse("blip")
    assert reply.text == "a man riding a wave on top of a surfboard"
    assert reply.mentions[1] == Mention(emoji="🌊", word="wave", shiny=True)
    assert reply.detections == ()


def test_clip_reports_boxes_and_the_whole_image():
    reply = parse("clip")
    assert [d.emoji for d in reply.detections] == ["🏄"]
    assert [d.emoji for d in reply.full_image] == ["🌊", "🦭"]


@pytest.mark.parametrize("service", ["colors", "metadata"])
def test_colours_and_metadata_are_results_without_detections(service):
    reply = parse(service)
    assert reply.found == 1
    assert not reply.detections
    assert not reply.mentions


def test_text_is_reported_only_where_some_was_read():
    assert [d.emoji for d in parse("ocr").detections] == ["💬"]
    assert parse("ocr").text == "STOP"
    assert parse("ocr", "ocr_empty").detections == ()


def test_nudity_is_reported_only_where_the_emoji_says_so():
    assert [d.emoji for d in parse("nsfw2").detections] == ["🔞"]
    assert parse("nsfw2", "nsfw2_clean").detections == ()


def test_a_list_box_is_read_as_its_catalog_entry_says():
    assert parse("face").detections[0].box == Box(x=12, y=30, width=40, height=50)
    assert parse("nudenet").detections[0].box == Box(x=10, y=20, width=100, height=50)


def test_an_empty_result_is_a_result():
    assert parse("rtdetr", "empty").found == 0


def test_a_pose_is_found_without_an_emoji():
    assert parse("pose").found == 1


def test_a_caption_score_is_a_cosine():
    scorer = catalog.facts("caption_score")
    assert replies.parse_score(scorer, (SAMPLES / "caption_score.json").read_bytes()) == 0.287
    with pytest.raises(BadReply, match="cosine"):
        replies.parse_score(scorer, b'{"status": "success", "similarity_score": 28.7}')


def test_an_error_with_status_200_is_a_rejection_with_its_message():
    with pytest.raises(ServiceRejected, match="yolov8: cannot decode the image"):
        parse("yolov8", "error")


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "empty"), (b"<html>502</html>", "HTML"), (b'{"predictions": [', "not JSON")],
)
def test_what_is_not_json_is_named_and_kept(body, said):
    with pytest.raises(BadReply, match=said) as caught:
        replies.parse(catalog.facts("yolov8"), body)
    assert caught.value.body == body.decode()
    assert "http://localhost:7773/v3/analyze" in str(caught.value)


@pytest.mark.parametrize(
    "prediction",
    [
        {"emoji": "🧑", "confidence": 96, "bbox": {"x": 0, "y": 0, "width": 1, "height": 1}},
        {"emoji": "🧑", "confidence": "high"},
        {"emoji": "🧑", "bbox": {"x": 0, "y": 0, "width": -5, "height": 1}},
        {"emoji": "🧑", "bbox": {"x": 0, "y": 0}},
        {"emoji": "🧑", "bbox": [1, 2, 3]},
        {"emoji": 7},
        "person",
        None,
    ],
)
def test_what_is_off_the_contract_is_refused(prediction):
    with pytest.raises(BadReply, match="off the contract"):
        parse_predictions("yolov8", prediction)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "predictions", "emoji", "bbox", "confidence", "metadata", "full_image", "x", "y"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_read_or_refused(value):
    try:
        replies.parse(catalog.facts("clip"), json.dumps(value).encode())
    except ServiceError as error:
        assert "clip" in str(error)
