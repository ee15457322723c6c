"""Why a box stands: what `windmill why --box` and `--near` say, and that its arithmetic is the score's."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.test_history import asked, made
from tests.unit.test_merging import NOW, box, reply, seen
from windmill import accounts, explaining
from windmill.catalog import Catalog
from windmill.core import merging
from windmill.core import seen as marks
from windmill.errors import ConfigError
from windmill.explaining import Case
from windmill.history import History
from windmill.model import Image, Snapshot

SERVICES = Catalog({}, Path("service_config.json"))
BOTH = ("spatial", "classification")
CAT = (
    reply("yolov8", seen("🐈", 0.9, box(10, 10, 100, 100), "cat")),
    reply("rtdetr", seen("🐈", 0.6, box(20, 10, 100, 100), "kitten"), seen("🐕", 0.3, box(200, 0, 50, 50))),
    reply("detectron2"),
    reply("xception", types=BOTH),
)


def case(replies, *, late=(), rule=merging.IDENTITY, **fields):
    """An image whose boxes were merged from `replies`; `late` ones came after that."""
    read = {stored.reply.service: marks.microseconds(stored.created) for stored in replies}
    stage = replace(made("bbox_merger", read), rule=rule)
    history = History(
        image_id=17,
        filename="cat.jpg",
        path="/p/cat.jpg",
        url=None,
        group="g",
        width=300,
        height=200,
        admitted=NOW,
        **({"made": (stage,)} | fields),
    )
    snapshot = Snapshot(
        image=Image(image_id=17, path="/p/cat.jpg"),
        replies=(*replies, *late),
        boxes=merging.merge(replies)[::-1],  # the table holds them in any order
    )
    return Case(history=history, snapshot=snapshot)


def test_each_vote_says_what_was_seen_and_what_it_weighs():
    one = explaining.account(case(CAT), 1, SERVICES)
    assert [(vote.service, vote.detection.label if vote.detection else None) for vote in one.votes] == [
        ("yolov8", "cat"),
        ("rtdetr", "kitten"),
        ("detectron2", None),
    ]
    assert one.box.box == box(14, 10, 100, 100)  # corners weighted 0.9 : 0.6
    assert [vote.share for vote in one.votes] == pytest.approx([0.6, 0.4, 0])
    assert [vote.iou for vote in one.votes] == pytest.approx([96 / 104, 94 / 106, 0])
    assert one.others == {"xception": "speaks of the whole image, and draws no boxes"}


def test_the_weights_add_up_to_the_score_that_is_shown():
    one = explaining.account(case(CAT), 1, SERVICES)
    assert sum(vote.weight for vote in one.votes) == pytest.approx(one.box.score, abs=1e-4)
    assert one.box.score == merging.merge(CAT)[0].score == 0.5
    assert explaining.score_sum(one) == "score = (0.9000 + 0.6000 + 0) / 3 who looked = 0.5000"


def test_boxes_are_numbered_from_the_strongest():
    both = (reply("a", seen("🐕", 0.5, box(0, 0, 9, 9)), seen("🐈", 0.8, box(20, 0, 9, 9))),)
    found = case(both)
    assert [one.emoji for one in explaining.boxes(found.snapshot)] == ["🐈", "🐕"]
    assert explaining.account(found, 2, SERVICES).box.emoji == "🐕"
    assert [one["number"] for one in accounts.boxes(explaining.boxes(found.snapshot))] == [1, 2]


@pytest.mark.parametrize(
    ("replies", "number", "there"), [(CAT, 2, "1 to 1"), (CAT, 0, "1 to 1"), ((), 1, "none")]
)
def test_a_number_that_no_box_has_says_how_many_there_are(replies, number, there):
    with pytest.raises(ConfigError, match=f"no box {number};.*{there}"):
        explaining.account(case(replies), number, SERVICES)


def test_a_point_shows_what_fell_below_the_threshold_too():
    (dog,) = explaining.near(case(CAT), 210, 20, SERVICES)
    assert (dog.number, dog.box.emoji, dog.box.score, dog.threshold) == (0, "🐕", 0.1, merging.STANDS)
    assert explaining.verdict(dog) == "it falls: 0.1000 is below the threshold of 0.25"
    (cat,) = explaining.near(case(CAT), 50, 50, SERVICES)
    assert cat.number == 1
    assert explaining.near(case(CAT), 299, 199, SERVICES) == ()


def test_a_point_outside_of_the_image_is_a_mistake():
    with pytest.raises(ConfigError, match="300×200"):
        explaining.near(case(CAT), 301, 5, SERVICES)


def test_who_has_not_answered_or_came_later_has_no_vote():
    found = case(
        CAT,
        late=(reply("yolo_oi7"),),
        asked=(asked(service="nanodet", state="parked"), asked(service="blip"), asked(service="yolov8")),
    )
    others = explaining.account(found, 1, SERVICES).others
    assert others["yolo_oi7"] == "has answered since; its boxes are not merged yet"
    assert others["nanodet"] == "has not answered (parked)"
    assert set(others) == {"xception", "yolo_oi7", "nanodet"}


def test_one_service_alone_needs_no_threshold():
    one = explaining.account(case(CAT[1:2]), 2, SERVICES)
    assert "no other service has looked" in explaining.verdict(one)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (case(CAT, rule="an older rule 1"), "windmill rerun --service bbox_merger --stale"),
        (case(CAT, made=()), "no boxes were merged yet"),
        (case(CAT, made=(made("bbox_merger", {"yolov8": 1}),)), "merged by the rule r 1"),
        (
            case(CAT, made=(replace(made("bbox_merger", {"yolov8": 1}), rule=merging.IDENTITY),)),
            "answered anew",
        ),
    ],
)
def test_what_cannot_be_explained_says_what_to_do(found, said):
    with pytest.raises(ConfigError, match=said):
        explaining.account(found, 1, SERVICES)


def test_the_table_and_the_document_hold_the_same_numbers():
    one = explaining.account(case(CAT), 1, SERVICES)
    console = Console(width=140, force_terminal=False)
    with console.capture() as capture:
        console.print(accounts.table(one))
    rows = {line.split()[1]: line for line in capture.get().splitlines() if line.startswith("│")}
    for vote in accounts.document(one)["votes"]:
        row = rows[vote["service"]]
        if vote["saw"]:
            assert f"{vote['confidence']:.4f}" in row
            assert f"{vote['iou']:.2f}" in row
            assert f"{vote['weight']:+.4f}" in row
            assert f"{100 * vote['share']:.0f}%" in row
        else:
            assert "nothing here" in row
            assert "0" in row
    assert accounts.others(one) == ["no vote: xception speaks of the whole image, and draws no boxes"]
    assert accounts.heading(one, 1)[0] == "box 1 of 1: 🐈 cat at 14,10 100×100 px"
