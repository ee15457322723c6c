"""Why a box stands: what `windmill why --box` and `--near` say, and that its arithmetic is the score's."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.detectors import AVERAGE
from tests.unit.test_history import asked, made
from tests.unit.test_merging import NOW, box, reply, seen
from windmill import accounts, explaining
from windmill.catalog import Catalog
from windmill.core import merging
from windmill.core import seen as marks
from windmill.errors import ConfigError
from windmill.explaining import Case, Inquiry
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


MERGED_BY = str(merging.rule(AVERAGE))


def case(replies, *, late=(), rule=MERGED_BY, detectors=AVERAGE, **fields):
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
        boxes=merging.merge(replies, detectors)[::-1],  # the table holds them in any order
    )
    return Case(history=history, snapshot=snapshot)


def asking(found, detectors=AVERAGE):
    return Inquiry(case=found, services=SERVICES, detectors=detectors)


def account(replies, number=1):
    return asking(case(replies)).account(number)


def sigmoid(log_odds):
    return 1 / (1 + math.exp(-log_odds))


def logit(chance):
    return math.log(chance / (1 - chance))


def test_each_vote_says_what_was_seen_and_what_it_counts():
    one = account(CAT)
    assert [(vote.service, vote.detection.label if vote.detection else None) for vote in one.votes] == [
        ("yolov8", "cat"),
        ("rtdetr", "kitten"),
        ("detectron2", None),
    ]
    weights = math.sqrt(0.9 / 0.1), math.sqrt(0.6 / 0.4)  # exp(0.5 logit c)
    share = weights[0] / sum(weights)
    assert [vote.share for vote in one.votes] == pytest.approx([share, 1 - share, 0])
    assert one.box.box.x == pytest.approx(10 + 10 * (1 - share), abs=0.01)
    iou = [1, 90 / 110]  # with the surest box: both are 100 wide, and 10 pixels apart
    assert [vote.iou for vote in one.votes] == pytest.approx([*iou, 0])
    chance = [sigmoid(-0.8 + 0.9 * logit(sure)) for sure in (0.9, 0.6)]
    assert [vote.chance for vote in one.votes] == pytest.approx([*chance, 0])
    assert [vote.counts for vote in one.votes] == pytest.approx(
        [chance[0] * iou[0] ** 2, chance[1] * iou[1] ** 2, 0]
    )
    assert [vote.silence for vote in one.votes] == [0, 0, -0.4]
    assert one.others == {"xception": "speaks of the whole image, and draws no boxes"}


def test_what_each_counts_makes_the_score_that_is_stored():
    one = account(CAT)
    wrong = math.prod(1 - vote.counts for vote in one.votes)
    score = sigmoid(1.0 + 1.2 * logit(1 - wrong) - 0.4)
    assert one.box.score == merging.merge(CAT, AVERAGE)[0].score == pytest.approx(score, abs=1e-6)
    assert one.figures.score == f"{score:.2f}"


def test_a_box_says_which_surer_one_it_overlaps():
    first, second = seen("🐈", 0.9, box(0, 0, 100, 100)), seen("🐈", 0.8, box(50, 0, 100, 100))
    doubted = account((reply("a", first, second), reply("b", first)), 2)
    assert "− 5.000 × 0.333² (IoU with box 1)" in "".join(doubted.figures.lines)


def test_a_detector_that_does_not_know_the_class_has_no_vote():
    birds = reply("birds", seen("🐦", 0.9, box(150, 0, 50, 50), "bird"), knows=frozenset({"bird"}))
    anyones = reply("anyones", seen("🐦", 0.9, box(150, 0, 50, 50), "bird"), knows=None)
    (one,) = asking(case((*CAT, birds, anyones))).near(50, 50)
    assert one.box == account(CAT).box
    assert {vote.service for vote in one.votes} == {"yolov8", "rtdetr", "detectron2"}
    assert one.others["birds"] == "does not know this class"
    assert one.others["anyones"] == "saw none of this class, and nobody said which classes it knows"


def test_who_was_never_calibrated_is_named():
    known = replace(AVERAGE, known={"yolov8": AVERAGE.average, "detectron2": AVERAGE.average})
    found = case(CAT, rule=str(merging.rule(known)), detectors=known)
    one = asking(found, known).account(1)
    assert explaining.by_what(one) == (
        f"rule calibrated_noisy_or {merging.VERSION}, calibration {merging.rule(known).calibration};"
        " never calibrated: rtdetr: it counts as the average detector"
    )
    votes = accounts.document(one)["votes"]
    assert {vote["service"]: vote["calibrated"] for vote in votes} == {
        "yolov8": True,
        "rtdetr": False,
        "detectron2": True,
    }


def test_the_crop_is_the_surest_box_and_the_place_the_mean():
    assert explaining.place(account(CAT)) == (
        "place = the mean of the corners, 71% yolov8 + 29% rtdetr; crop = the box of yolov8, the surest"
    )
    assert explaining.place(account(CAT[:1])) == "place = the box of yolov8"


def test_boxes_are_numbered_from_the_strongest():
    found = case((reply("a", seen("🐕", 0.5, box(0, 0, 9, 9)), seen("🐈", 0.8, box(20, 0, 9, 9))),))
    assert [one.emoji for one in explaining.boxes(found.snapshot)] == ["🐈", "🐕"]
    assert asking(found).account(2).box.emoji == "🐕"
    assert [one["number"] for one in accounts.boxes(explaining.boxes(found.snapshot))] == [1, 2]


@pytest.mark.parametrize(
    ("replies", "number", "there"), [(CAT, 2, "1 to 1"), (CAT, 0, "1 to 1"), ((), 1, "none")]
)
def test_a_number_that_no_box_has_says_how_many_there_are(replies, number, there):
    with pytest.raises(ConfigError, match=f"no box {number};.*{there}"):
        account(replies, number)


def test_a_point_shows_what_fell_below_the_threshold_too():
    (dog,) = asking(case(CAT)).near(210, 20)
    assert (dog.number, dog.box.emoji, dog.judged.threshold) == (0, "🐕", merging.STANDS)
    assert explaining.verdict(dog) == f"it falls: its score of {dog.figures.score} is below 0.5"
    assert 0 < dog.box.score < merging.STANDS
    (cat,) = asking(case(CAT)).near(50, 50)
    assert cat.number == 1
    assert explaining.verdict(cat) == f"it stands: its score of {cat.figures.score} is not below 0.5"
    assert asking(case(CAT)).near(299, 199) == ()


def test_a_point_outside_of_the_image_is_a_mistake():
    with pytest.raises(ConfigError, match="300×200"):
        asking(case(CAT)).near(301, 5)


def test_who_has_not_answered_or_came_later_has_no_vote():
    found = case(
        CAT,
        late=(reply("yolo_oi7"),),
        asked=(asked(service="nanodet", state="parked"), asked(service="blip"), asked(service="yolov8")),
    )
    others = asking(found).account(1).others
    assert others["yolo_oi7"] == "has answered since; its boxes are not merged yet"
    assert others["nanodet"] == "has not answered (parked)"
    assert set(others) == {"xception", "yolo_oi7", "nanodet"}


def test_what_one_service_alone_can_have_seen_stands_with_any_score():
    weak = seen("🐕", 0.02, box(200, 0, 50, 50), "dog"), seen("🐕", 0.01, box(210, 0, 50, 50), "dog")
    birds = reply("birds", knows=frozenset({"bird"}))
    for replies in ((reply("yolov8", *weak),), (reply("yolov8", *weak), birds)):
        one = account(replies, 2)
        assert explaining.verdict(one).startswith("it stands with any score, here 0.0")
        assert "IoU with" not in "".join(one.figures.lines)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (case(CAT, rule="an older rule 1"), "windmill rerun --service bbox_merger --stale"),
        (case(CAT, made=()), "no boxes were merged yet"),
        (case(CAT, made=(made("bbox_merger", {"yolov8": 1}),)), "merged by the rule r 1"),
        (
            case(CAT, made=(replace(made("bbox_merger", {"yolov8": 1}), rule=MERGED_BY),)),
            "answered anew",
        ),
    ],
)
def test_what_cannot_be_explained_says_what_to_do(found, said):
    with pytest.raises(ConfigError, match=said):
        asking(found).account(1)


def test_the_table_and_the_document_hold_the_same_numbers():
    one = account(CAT)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(accounts.table(one))
    rows = {line.split()[0]: line for line in capture.get().splitlines() if line.strip()}
    for vote in accounts.document(one)["votes"]:
        row = rows[vote["service"]]
        if vote["saw"]:
            for number in (f"{vote['confidence']:.3f}", f"{vote['chance']:.3f}", f"{vote['iou']:.3f}"):
                assert number in row
            assert f"{100 * vote['share']:.0f}%" in row
            counts = one.figures.parts[vote["service"]].counts
            assert counts in row
            assert float(counts) == pytest.approx(vote["counts"], abs=0.002)
        else:
            assert "nothing: −0.400" in row
            assert vote["silence"] == -0.4
    assert accounts.others(one) == ["no vote: xception speaks of the whole image, and draws no boxes"]
    assert accounts.heading(one, 1)[0].startswith("box 1 of 1: 🐈 cat at 12.9,10 100×100 px")
