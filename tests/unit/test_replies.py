"""Foreign shapes end at the door: every recorded shape is read, everything else is refused by name."""

import json
from pathlib import Path

import pytest

from windmill import catalog
from windmill.core import replies
from windmill.errors import BadReply, ServiceRejected
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


def test_a_detection_gets_the_class_that_its_service_s_vocabulary_says():
    mouse = {
        "label": "Mouse",
        "emoji": "",
        "confidence": 0.9,
        "bbox": {"x": 1, "y": 1, "width": 5, "height": 5},
    }
    meant = {name: parse_predictions(name, mouse).detections[0].class_name for name in ("yolov8", "yolo_oi7")}
    assert meant == {"yolov8": "mouse", "yolo_oi7": "mouse animal"}
    assert "mouse animal" in parse_predictions("yolo_oi7").knows - parse_predictions("yolo_365").knows
    assert parse_predictions("clip").knows is None


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
    [
        (b"", "empty: is"),
        (b"<html>502</html>", "HTML, it begins with '<html>502</html>': is"),
        (
            b'{"predictions": [',
            r"""not JSON \(Expecting value: .*17\)\), it begins with '{"predictions": \['""",
        ),
        (b"\xef\xbb\xbf{}", r"not JSON \(a byte order mark comes first\)"),
        (b"\x1b[2J" + b"!" * 10_000, r"not JSON \(.*\), it begins with '�\[2J!{56}…': is"),
    ],
)
def test_what_is_not_json_is_named_and_kept(body, said):
    with pytest.raises(BadReply, match=said) as caught:
        replies.parse(catalog.facts("yolov8"), body)
    assert caught.value.body == body.decode()[:2000]
    assert "http://localhost:7773/v3/analyze" in str(caught.value)


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        ({"emoji": "🧑", "confidence": 96}, r"predictions\[0\].confidence: 96 is not from 0 to 1"),
        ({"emoji": "🧑", "confidence": "high"}, r"\.confidence: expected a number, got the text 'high'"),
        ({"emoji": "🧑", "confidence": True}, r"\.confidence: expected a number, got True"),
        ({"emoji": 7}, r"predictions\[0\]\.emoji: expected text, got 7"),
        ({"emoji": "x" * 41}, r"\.emoji: 41 characters, more than 40"),
        ({"label": "x" * 401, "emoji": "🧑"}, r"\.label: 401 characters"),
        ({"text": {"no": 1}}, r"\.text: expected text, got an object"),
        ({"bbox": {"x": 0, "y": 0, "width": -5, "height": 1}}, r"\.bbox: a negative size, -5 × 1"),
        ({"bbox": {"x": 0, "y": 0}}, r"\.bbox\.width: expected a number, got nothing"),
        ({"bbox": [1, 2, 3]}, r"\.bbox: expected x, y, width and height, or four numbers, got a list of 3"),
        ({"bbox": "1234"}, r"\.bbox: expected .* got the text '1234'"),
        ({"bbox": [0, 0, 1e10, 1]}, r"\.bbox\[2\]: 1e\+?10 is not from|\.bbox\[2\]: 10000000000.0 is not"),
        ({"bbox": [0, 0, 10**299, 1]}, r"\.bbox\[2\]: 1000+… is not from"),
        ({"emoji_mappings": [{}, {"emoji": 1}]}, r"\[0\]\.emoji_mappings\[1\]\.emoji: expected text, got 1"),
        ({"emoji_mappings": ["🧑"]}, r"\.emoji_mappings\[0\]: expected an object, got the text '🧑'"),
        ({"emoji_mappings": {"🧑": "man"}}, r"\.emoji_mappings: expected a list, got an object"),
        ({"emoji_mappings": [{"emoji": "🧑"}] * 1001}, r"emoji_mappings: 1001 of them, more than 1000"),
        ({"keypoints": {"nose": [1]}}, r"\.keypoints\.nose: expected x and y, got a list of 1"),
        ({"keypoints": {"nose": {"x": 1}}}, r"\.keypoints\.nose: expected a number, got nothing"),
        ("person", r"predictions\[0\]: expected an object, got the text 'person'"),
        (None, r"predictions\[0\]: expected an object, got nothing"),
    ],
)
def test_what_is_off_the_contract_is_refused_by_the_name_of_its_field(prediction, said):
    with pytest.raises(BadReply, match=f"yolov8: reply is off the contract: .*{said}"):
        parse_predictions("yolov8", prediction)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"predictions": {}}', "predictions: expected a list, got an object"),
        ("{}", "predictions: expected a list, got nothing"),
        ("[]", "the reply: expected an object, got a list of 0"),
        ('{"predictions": [], "full_image": "no"}', "full_image: expected a list, got the text 'no'"),
        ('{"predictions": [], "metadata": 5}', "metadata: expected an object, got 5"),
        (
            '{"predictions": [], "metadata": {"processing_time": -1}}',
            r"metadata\.processing_time: -1 is not from 0",
        ),
        ('{"predictions": [NaN]}', "NaN is not JSON"),
        ('{"predictions": [], "x": -Infinity}', "-Infinity is not JSON"),
        ('{"predictions": [], "x": 1e400000}', "1e400000 is not a number that a database holds"),
        ('{"predictions": [], "x": 1e-400000}', "1e-400000 is not a number that a database holds"),
        (
            '{"predictions": [], "x": 0.' + "0" * 20_000 + "1}",
            "0.000.*… is not a number that a database holds",
        ),
        ('{"predictions": [], "x": ' + "9" * 5000 + "}", "9999.*… is not a number that a database holds"),
        ('{"predictions": [], "x": ' + "[" * 101 + "]" * 101 + "}", "nested more than 100 levels deep"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply|nested more than 100"),
        ('{"predictions": [], "predictions": []}', "predictions: stands in one object twice"),
        ('{"predictions": [' + "{}," * 1000 + "{}]}", "predictions: 1001 of them, more than 1000"),
    ],
    ids=lambda value: value[:30],
)
def test_what_no_database_or_reader_could_hold_is_refused(body, said):
    with pytest.raises(BadReply, match=f"blip: reply is off the contract: {said}") as caught:
        replies.parse(catalog.facts("blip"), body.encode())
    assert caught.value.body == body[:2000]
    assert len(str(caught.value)) < 300


def test_ninety_nine_levels_below_the_reply_are_not_too_many():
    body = '{"predictions": [], "x": ' + "[" * 99 + "]" * 99 + "}"
    assert replies.parse(catalog.facts("blip"), body.encode()).found == 0


def test_what_a_database_cannot_hold_of_a_text_becomes_a_mark():
    reply = parse_predictions("blip", {"text": "a \0 and \ud83d", "emoji_mappings": [{"emoji": "\udc00"}]})
    assert reply.text == "a � and �"
    assert reply.mentions[0].emoji == "�"


def test_an_error_is_told_in_one_plain_line():
    body = json.dumps({"status": "error", "error": {"message": "no\nface\x1b[31m" + "!" * 10_000}})
    with pytest.raises(ServiceRejected, match=r"blip: no face�\[31m!+…$") as caught:
        replies.parse(catalog.facts("blip"), body.encode())
    assert len(str(caught.value)) < 600
