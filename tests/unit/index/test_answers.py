"""An answer as JSON, and back."""

import json

import pytest

from windmill.findings import Findings, FoundBox
from windmill.index import answers
from windmill.index.answers import Told
from windmill.index.searching import Answer, Query
from windmill.index.vectors import Hit
from windmill.model import Box

NUMBER = (1 << 63) - 5  # more than a float holds
FOUND = Findings(
    image_id=12,
    filename="a.jpg",
    path=None,
    width=640,
    height=480,
    votes=(("🚗", "car", 3),),
    boxes=(FoundBox(label="car", box=Box(x=1, y=2.5, width=3, height=4), detection_count=2, score=0.9),),
    faces=(Box(x=5, y=6, width=7, height=8),),
    colours=(("#ff0000", "Poppy Red"),),
    text="STOP",
    group="streets",
    captions=(("blip", "a car"),),
    errors=("ocr: ServiceBusy: full",),
)
HITS = (Hit(image_id=12, path="/a.jpg", score=0.5), Hit(image_id=NUMBER, path="/b.jpg", score=0.25))
TOLD = Told(Answer(hits=HITS, best=0.5, least=0.2, matching=7), {12: FOUND})


def written(told=TOLD, query=Query(text="a car", most=5), where=""):  # noqa: B008 -- frozen
    return json.loads(json.dumps(answers.document(query, told, where)))


def test_what_was_written_is_read_again():
    assert answers.parse(written()) == TOLD


def test_a_search_that_found_nothing_is_read_again():
    nothing = Told(Answer(hits=(), best=None, least=0.2))
    assert answers.parse(written(nothing)) == nothing
    assert written(nothing)["fits"] is False


def test_the_document_says_what_was_asked_and_where_the_files_are():
    said = written(query=Query(image=("cat.jpg", b"..."), most=5, least=0.1), where="nsfw < 0.1")
    assert said["query"] == {
        "text": "", "image": "cat.jpg", "like": None, "top_k": 5, "where": "nsfw < 0.1", "min_score": 0.1,
    }  # fmt: skip
    assert [(hit["rank"], hit["file"]) for hit in said["hits"]] == [
        (1, "/images/12"),
        (2, f"/images/{NUMBER}"),
    ]
    assert (said["fits"], said["cutoff"], said["best_score"], said["matching"]) == (True, 0.2, 0.5, 7)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: [said],
        lambda said: said | {"hits": None},
        lambda said: {key: value for key, value in said.items() if key != "cutoff"},
        lambda said: said | {"best_score": "much"},
        lambda said: said | {"cutoff": float("inf")},
        lambda said: said | {"hits": [{**said["hits"][0], "found": "a car"}]},
        lambda said: said | {"hits": [{**said["hits"][0], "image_id": float("inf")}]},
    ],
)
def test_what_is_no_answer_is_refused(spoil):
    with pytest.raises(ValueError, match=r"\w"):
        answers.parse(spoil(written()))
