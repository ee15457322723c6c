"""Recorded replies are in shape, and no promised field can go missing unnoticed."""

import copy
import json
from pathlib import Path

import pytest

from windmill import catalog
from windmill.checking import shapes
from windmill.checking.calling import Answer, Failed, Request

SAMPLES = Path(__file__).parents[2] / "samples"


def sample(name):
    return json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))


def check(name, data):
    body = json.dumps(data).encode()
    shapes.check(
        catalog.facts(name), Answer(request=Request(what="a photo", path="/"), status=200, body=body)
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *((name, name) for name in shapes.PROMISES if (SAMPLES / f"{name}.json").exists()),
        ("yolov8", "yolov8"),
        ("xception", "clip"),
        ("ocr", "ocr_empty"),
        ("nsfw2", "nsfw2_clean"),
    ],
)
def test_recorded_replies_are_as_promised(name, file):
    check(name, sample(file))


def promised_fields():
    for name, promise in [*shapes.PROMISES.items(), ("yolov8", shapes.promised(catalog.facts("yolov8")))]:
        if (SAMPLES / f"{name}.json").exists():
            yield from ((name, "predictions", one.path) for one in promise.each if "nothing" not in one.words)
            yield from ((name, "full_image", one.path) for one in promise.whole or ())


@pytest.mark.parametrize(("name", "where", "path"), [*promised_fields()], ids=str)
def test_a_field_that_is_missing_is_named(name, where, path):
    data = sample(name)
    values = data[where][0]
    *outer, last = path.split(".")
    for key in outer:
        values = values[key]
    del values[last]
    with pytest.raises(Failed) as caught:
        check(name, data)
    assert caught.value.expected.startswith(f"{where}[0].{path}: ")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("clip", lambda data: data.pop("full_image"), "full_image: a list"),
        ("blip", lambda data: data.update(predictions=[]), "at least one caption"),
        ("blip", lambda data: data["predictions"][0]["emoji_mappings"][0].pop("word"), "emoji_mappings"),
        ("colors", lambda data: data["predictions"][0]["primary"].update(hex="red"), "#rrggbb"),
        ("colors", lambda data: data["predictions"][0].update(emoji="🟦"), "colours never vote"),
        ("colors", lambda data: data["predictions"][0]["palette"].update(colors=[]), "palette.colors"),
        ("pose", lambda data: data["predictions"][0]["landmarks"]["nose"].update(x=320), "from 0 to 1"),
        ("nudenet", lambda data: data["predictions"][0].update(bbox={"x": 1}), "x1, y1, x2, y2"),
        ("nsfw2", lambda data: data["predictions"][0].update(nsfw="yes"), "true or false"),
        ("caption_score", lambda data: data.update(similarity_score=28.7), "a cosine"),
        ("yolov8", lambda data: data["predictions"][0].update(confidence=True), "from 0 to 1"),
    ],
)
def test_a_field_of_another_kind_is_named(name, change, said):
    data = copy.deepcopy(sample(name))
    change(data)
    with pytest.raises(Failed, match=said):
        check(name, data)


def test_any_detector_promises_what_detectors_do():
    assert shapes.promised(catalog.facts("rtdetr")) == shapes.promised(catalog.facts("nanodet"))
    assert shapes.promised(catalog.facts("birds")) is None
