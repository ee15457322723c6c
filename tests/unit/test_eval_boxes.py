"""`windmill eval boxes`: its figures on folders that are made here, and whether it judges fairly."""

import gzip
import importlib
import json
import os
import signal
from dataclasses import astuple, replace
from importlib.util import find_spec
from itertools import permutations

import numpy as np
import pytest

from windmill.calibrating.found import columns
from windmill.calibrating.judge import Judge, Matches, Point
from windmill.cli import main
from windmill.errors import ConfigError
from windmill.evaluating import document
from windmill.evaluating.boxes import arrivals, crossing, official, reliability, report, rivals, rule, tables
from windmill.evaluating.boxes.arrivals import Kept
from windmill.evaluating.boxes.crew import crew
from windmill.evaluating.boxes.crossing import Both, Fold
from windmill.evaluating.boxes.folder import Source, load
from windmill.evaluating.boxes.noise import Versus
from windmill.evaluating.boxes.report import Plan
from windmill.evaluating.boxes.rule import Merged
from windmill.evaluating.document import Sheet
from windmill.model import Box, Detection, MergedBox, ServiceReply, SourcedDetection

if not os.environ.get("CI") and not (find_spec("pycocotools") and find_spec("ensemble_boxes")):
    pytest.skip("the extra [eval] is not installed", allow_module_level=True)

PERSON, DOG = 1, 18  # COCO's numbers


def truth(*objects, images=4):
    """Objects as (image, category, x, width) or with a crowd flag, all 10 pixels high."""
    return {
        "images": [{"id": n, "width": 100, "height": 100} for n in range(1, images + 1)],
        "categories": [{"id": PERSON, "name": "person"}, {"id": DOG, "name": "dog"}],
        "annotations": [
            {
                "id": n,
                "image_id": image,
                "category_id": kind,
                "bbox": [x, 0, width, 10],
                "iscrowd": int(any(crowd)),
            }
            for n, (image, kind, x, width, *crowd) in enumerate(objects, 1)
        ],
    }


def seen(*boxes):
    """Boxes as (image, category, x, width, score)."""
    return [
        {"image_id": image, "category_id": kind, "bbox": [x, 0, width, 10], "score": score}
        for image, kind, x, width, score in boxes
    ]


@pytest.fixture
def folder(tmp_path):
    """Writes a folder of that name: the truth, and what each detector saw."""

    def write(known, **detectors):
        path = tmp_path / "made"
        path.mkdir()
        for name, content in {"ground_truth": known, **detectors}.items():
            (path / f"{name}.json").write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def three(folder):
    """A person on each of ten images. `good` finds all, `half` every other one, `blind` none but a dog."""
    images = range(1, 11)
    return folder(
        truth(*((n, PERSON, 0, 10) for n in images), images=10),
        good=seen(*((n, PERSON, 0, 10, 0.9) for n in images)),
        half=seen(*((n, PERSON, 0, 10, 0.8) for n in images if n % 2)),
        blind=seen((1, DOG, 50, 10, 0.7)),
    )


class Union:
    """A rule that keeps whatever anyone saw, under a name that says nothing of others."""

    def learn(self, images):
        return None

    def merge(self, replies, learned):
        sources = [
            SourcedDetection(service=one.reply.service, result_id=one.result_id, detection=seen)
            for one in replies
            for seen in one.reply.detections
        ]
        boxes = [merged(f"{one.service} {one.detection.box.x}", one) for one in sources]
        boxes.sort(key=lambda box: box.key)
        return Merged(boxes, boxes)


def detection(x, label="person"):
    box = Box(x=x, y=0, width=10, height=10)
    return Detection(label=label, emoji="", confidence=0.5, class_name=label, box=box)


def merged(key, source):
    seen = source.detection
    return MergedBox(
        key=key, class_name=seen.class_name, emoji="", label=seen.label, labels=(seen.label,), box=seen.box,
        crop=seen.box, score=seen.confidence, avg_confidence=seen.confidence, detections=(source,),
    )  # fmt: skip


def old(key, x):
    return merged(key, SourcedDetection(service="old", result_id=1, detection=detection(x)))


def precision(path, name):
    told = load(path)
    judge = Judge(told.marked)
    quick = judge.precision(judge.match(told.detectors[name]))
    exact = official.precision(told, told.detectors[name])
    assert astuple(quick) == pytest.approx(astuple(exact), abs=1e-12)
    return quick


def test_a_box_counts_at_the_thresholds_that_it_reaches(folder):
    """IoU 0.82: right at 0.5, 0.55 … 0.8, which are seven of the ten thresholds."""
    path = folder(truth((1, PERSON, 0, 10)), one=seen((1, PERSON, 0, 8.2, 0.9)))
    assert astuple(precision(path, "one")) == pytest.approx((0.7, 1, 1))


def test_a_surer_wrong_box_halves_the_precision(folder):
    path = folder(truth((1, PERSON, 0, 10)), one=seen((1, PERSON, 0, 10, 0.5), (2, PERSON, 0, 10, 0.9)))
    assert precision(path, "one").ap == pytest.approx(0.5)


def test_boxes_in_a_crowd_are_neither_right_nor_wrong(folder):
    path = folder(
        truth((1, PERSON, 0, 10), (1, PERSON, 20, 60, True)),
        one=seen((1, PERSON, 30, 10, 0.9), (1, PERSON, 40, 10, 0.9), (1, PERSON, 0, 10, 0.5)),
    )
    assert precision(path, "one").ap == pytest.approx(1)
    told = load(path)
    judge = Judge(told.marked)
    assert judge.point(judge.match(told.detectors["one"])) == Point(1, 1, 1, 0.5)


def test_a_detector_that_says_nothing_has_nothing(folder):
    path = folder(truth((1, PERSON, 0, 10)), one=[])
    assert astuple(precision(path, "one")) == (0, 0, 0)
    judge = Judge(load(path).marked)
    nothing = judge.match(columns([]))
    assert judge.best_point(nothing).f1 == judge.point(nothing).f1 == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_quick_judge_is_pycocotools_also_with_ties_crowds_and_more_boxes_than_count(folder, seed):
    draw = np.random.default_rng(seed)
    places = draw.integers(0, 80, (60, 2))
    objects = [
        (int(draw.integers(1, 5)), DOG if n % 3 else PERSON, int(x), 10, bool(n % 7 == 0))
        for n, (x, _) in enumerate(places)
    ]
    boxes = [
        (int(draw.integers(1, 3)), DOG if draw.random() < 0.9 else PERSON, int(draw.integers(0, 80)),
         int(draw.integers(8, 13)), int(draw.integers(1, 10)) / 10)
        for _ in range(400)
    ]  # fmt: skip
    precision(folder(truth(*objects), one=seen(*boxes)), "one")


def test_the_best_point_is_that_of_the_best_threshold(folder):
    """To 0.8: one of one right, one of two found. To 0.6: two of three, both. To 0.2: two of five, both."""
    path = folder(
        truth((1, PERSON, 0, 10), (2, PERSON, 0, 10)),
        one=seen(
            (1, PERSON, 0, 10, 0.8),
            (3, PERSON, 0, 10, 0.7),
            (2, PERSON, 0, 10, 0.6),
            (4, PERSON, 0, 10, 0.2),
            (4, PERSON, 50, 10, 0.2),
        ),
    )
    told = load(path)
    judge = Judge(told.marked)
    assert judge.best_point(judge.match(told.detectors["one"])) == Point(2 / 3, 1, 0.8, 0.6)


def test_an_image_drawn_twice_counts_twice(folder):
    path = folder(truth((1, PERSON, 0, 10), (2, PERSON, 0, 10), images=2), one=seen((1, PERSON, 0, 10, 0.8)))
    told = load(path)
    judge = Judge(told.marked)
    matches = judge.match(told.detectors["one"])
    assert judge.point(matches, np.array([2.0, 0.0])) == Point(1, 1, 1, 0.8)
    assert judge.precision(matches, np.array([3.0, 1.0])).ap == pytest.approx(76 / 101)


def test_files_may_be_gzipped_and_only_the_first_images_be_taken(three):
    (three / "half.json").rename(three / "half.old")
    (three / "half.json.gz").write_bytes(gzip.compress((three / "half.old").read_bytes()))
    told = load(three, 4)
    assert [one.id for one in told.pictures] == [1, 2, 3, 4]
    assert len(told.truth) == len(told.detectors["good"]) == 4
    assert told.detectors["half"].image.tolist() == [0, 2]


BOX = {"image_id": 1, "category_id": PERSON, "bbox": [0, 0, 10, 10], "score": 0.5}
KNOWN = truth((1, PERSON, 0, 10))


@pytest.mark.parametrize(
    ("known", "told", "message"),
    [
        ([], [], "ground_truth.json: expected COCO's instances format"),
        ({"images": []}, [], "ground_truth.json: expected COCO's instances format: KeyError('annotations')"),
        (truth(), [], "ground_truth.json: no object is marked"),
        (truth((9, PERSON, 0, 10)), [], "ground_truth.json: entry 0: 9 is missing or unknown"),
        (KNOWN | {"images": [{"id": 1, "width": 0, "height": 5}]}, [], "image 1: 0 × 5 pixels"),
        (KNOWN | {"images": KNOWN["images"] * 2}, [], "image 1 is there twice"),
        (KNOWN, {}, "one.json: expected a list"),
        (KNOWN, [BOX, BOX | {"image_id": 77}], "one.json: entry 1: 77 is missing or unknown"),
        (KNOWN, [BOX | {"category_id": 3}], "one.json: entry 0: 3 is missing or unknown"),
        (KNOWN, [BOX | {"score": 1.5}], "one.json: entry 0: score 1.5 is not from 0 to 1"),
        (KNOWN, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}], "entry 0: 'score' is missing"),
        (KNOWN, [BOX | {"bbox": [0, 0, -1, 1]}], "one.json: entry 0: bbox is not x, y, width, height"),
        (KNOWN, [BOX | {"bbox": [0, 0, 1]}], "one.json: entry 0: not enough values"),
        (KNOWN, [BOX, BOX | {"score": 10**400}], "one.json: entry 1: int too large"),
        (KNOWN, [BOX | {"bbox": [0, 0, 10**400, 1]}], "one.json: entry 0: int too large"),
        (KNOWN | {"images": [{"id": 1, "width": 10**400, "height": 5}]}, [], "ground_truth.json: expected"),
        (KNOWN, ["box"], "one.json: entry 0"),
    ],
)  # fmt: skip
def test_wrong_data_are_named(folder, known, told, message):
    with pytest.raises(ConfigError) as caught:
        load(folder(known, one=told))
    assert message in str(caught.value)


def test_a_wrong_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there is no ground_truth"):
        load(tmp_path)
    (tmp_path / "ground_truth.json").write_text("{")
    with pytest.raises(ConfigError, match="no file of a detector"):
        load(tmp_path, 1)
    (tmp_path / "one.json.gz").write_bytes(b"no gzip")
    with pytest.raises(ConfigError, match=r"ground_truth\.json: cannot be read"):
        load(tmp_path, 2)
    (tmp_path / "one.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"one\.json\.gz: one\.json is there too"):
        load(tmp_path, 3)


class Remembers(Union):
    """Learns the images by the place of the object on each, and remembers about which it was asked."""

    def __init__(self):
        self.asked = []

    def learn(self, images):
        return frozenset(one.truth[0].box.x for one in images)

    def merge(self, replies, learned):
        (image,) = {seen.box.x for one in replies for seen in one.reply.detections}
        self.asked.append((image, learned))
        return super().merge(replies, learned)


def test_no_image_is_judged_by_what_was_learned_from_it(folder):
    images = range(1, 21)
    path = folder(
        truth(*((n, PERSON, n, 10) for n in images), images=20),
        a=seen(*((n, PERSON, n, 10, 0.9) for n in images)),
        b=seen(*((n, PERSON, n, 10, 0.9) for n in images)),
    )
    fake = Remembers()
    outcomes = [Fold(Source(path), ("a", "b"), fake, n, 3).run() for n in range(3)]
    boxes = crossing.together(outcomes).boxes[frozenset("ab")]
    assert {image for image, _ in fake.asked} == set(images)
    assert len(fake.asked) == 20
    assert all(image not in learned for image, learned in fake.asked)
    assert all(10 <= len(learned) < 20 for _, learned in fake.asked)
    assert sorted(boxes.stored.image.tolist()) == sorted([n - 1 for n in images] * 2)


def test_the_part_of_an_image_does_not_hang_on_other_images():
    assert [crossing.part(n, 5) for n in (139, 285, 632, 724)] == [0, 4, 3, 2]


def test_all_orders_of_three_and_a_fair_sample_of_more():
    assert set(arrivals.orders("abc")) == set(permutations("abc"))
    many = arrivals.orders(["a", "b", "c", "d", "e", "f"])
    assert len(set(many)) == 12
    assert all([order[n] for order in many].count(name) == 2 for n in range(6) for name in "abcdef")


def reply(*detections):
    return ServiceReply(service="new", service_types=("spatial",), knows=None, detections=detections)


def test_what_a_reply_does_to_boxes_is_counted():
    """Of five boxes: one stays, one goes with the reply's box beside it, and of three that the reply does
    not mention one stays, one is outvoted, and one has another key for the same detection. One is new."""
    before = [old("a", 0), old("b", 20), old("c", 40), old("d", 60), old("e", 80)]
    moved = replace(old("f", 80), box=detection(81).box, crop=detection(81).box)
    after = [old("a", 0), old("c", 40), moved, old("g", 22)]
    assert arrivals.compared(before, after, reply(detection(0), detection(22))) == Kept(
        moments=1, before=5, kept=2, still=2, crops=2, fresh=2, silent=3, outvoted=1, moved=1
    )


def test_a_box_that_is_refined_is_kept_with_its_crop():
    refined = replace(old("a", 0), box=detection(1).box)
    counted = arrivals.compared([old("a", 0)], [refined], reply(detection(1)))
    assert counted == Kept(moments=1, before=1, kept=1, still=0, crops=1)


def test_a_box_that_nobody_mentioned_must_not_be_refined():
    refined = replace(old("a", 0), box=detection(1).box)
    assert arrivals.compared([old("a", 0)], [refined], reply(detection(50))).moved == 1


def test_a_box_of_another_class_says_nothing():
    assert arrivals.compared([old("a", 0)], [old("a", 0)], reply(detection(0, "dog"))).silent == 1


def test_a_detector_knows_the_classes_that_it_names_anywhere(three):
    assert load(three, 4).knows == {"good": {"person"}, "half": {"person"}, "blind": {"dog"}}
    assert rule.shown(Source(three, 4)).replies["blind"][3].reply.knows == {"dog"}


def compare(path, processes=1, sets=None, methods=(), **more):
    told = []
    rules = more.pop("rules", {"Union": Union()})
    source = Source(path)
    sets = sets or report.default_sets(list(source.folder.detectors))
    plan = Plan(source=source, sets=sets, rivals=methods, rules=rules, folds=2, resamples=3, **more)
    with crew(processes, told.append) as workers:
        found = list(report.reports(plan, workers))
    assert told == list(range(1, plan.tasks + 1))
    return found


def test_quality_is_followed_as_replies_come_in(three):
    """Alone, good, half and blind have an AP of 1, 51/101 and 0, an F1 of 1, 2·5/15 and 0. Blind's dog takes
    from F1 only, since there is no dog; half's boxes are second ones for people whom good has found."""
    (found,) = compare(three)
    first, second, third = found.stages
    assert (first.ap, first.f1) == pytest.approx(((1 + 51 / 101) / 3, (1 + 2 / 3) / 3))
    pairs = (20 / 25, 20 / 21, 10 / 16)  # F1 of good and half, good and blind, half and blind
    assert second.f1 == pytest.approx(sum(pairs) / 3)
    (worst,) = second.worst_f1
    assert (worst.joined, worst.before, worst.by) == ("half", {"good"}, pytest.approx(-0.2))
    assert third.f1 == pytest.approx(20 / 26)
    assert (found.unequal, found.orders) == (0, 6)
    assert third.kept.kept == third.kept.before > 0
    assert third.kept.moved == third.kept.outvoted == 0
    assert [one.precision.ap for one in found.detectors] == pytest.approx(found.alone)


class Forgetful(Union):
    """Keeps only what the first reply said: the order matters."""

    def merge(self, replies, learned):
        return super().merge(replies[:1], learned)


def test_a_rule_that_hangs_on_the_order_is_found_out(three):
    (found,) = compare(three, rules={"Forgetful": Forgetful()})
    assert found.unequal == 10


def test_other_methods_are_given_their_best(three, monkeypatch):
    for module, name in (("nms", "nms_float_fast"), ("nmw", "bb_intersection_over_union")):
        place = importlib.import_module(f"ensemble_boxes.ensemble_boxes_{module}")
        monkeypatch.setattr(place, name, getattr(place, name).py_func)  # compiling takes seconds
    methods = tuple(one for many in rivals.METHODS.values() for one in many)
    (found,) = compare(three, methods=methods, sets={"two": ("good", "half")})
    assert [one.name for one in found.rivals] == [one.name for one in methods]
    assert all(one.precision.ap == pytest.approx(1) for one in found.rivals)
    assert len(found.ahead_of_rival) == 1


def test_a_difference_of_nothing_is_no_difference(three):
    folder = load(three)
    good, half = (Both(folder.detectors[name], folder.detectors[name]) for name in ("good", "half"))
    same = Versus(Source(three), good, good, 5).run()
    assert (same.ap.difference, same.ap.error, same.f1.error) == (0, 0, 0)
    other = Versus(Source(three), good, half, 5).run()
    assert other.ap.difference == pytest.approx(50 / 101)
    assert other.f1.difference == pytest.approx(1 / 3)
    assert 0 < other.f1.error < 0.3


def test_processes_share_the_work(three):
    """The rule of the product: a process of its own finds nothing that is only in this file."""
    alone, shared = (compare(three, processes, rules=rule.RULES) for processes in (1, 2))
    assert tables.document(alone) == tables.document(shared)


def test_default_sets_are_the_known_ones_or_every_three():
    six = list(report.KNOWN["D"])
    assert list(report.default_sets(six)) == ["A", "B", "C", "D"]
    assert list(report.default_sets([*six, "other"])) == ["A", "B", "C", "D", "all"]
    assert list(report.default_sets(["a", "b", "c", "d"])) == ["all", "a+b+c", "a+b+d", "a+c+d", "b+c+d"]
    assert report.default_sets(["a", "b"]) == {"all": ("a", "b")}


def test_the_command_prints_json_and_writes_the_tables(three, tmp_path, capsys):
    path = tmp_path / "quality.md"
    path.write_text("# Quality\n\n<!-- boxes:begin -->\nold\n<!-- boxes:end -->\n\nEnd\n")
    words = [
        "--data",
        str(three),
        "--against",
        "none",
        "--folds",
        "2",
        "--resamples",
        "2",
        "--processes",
        "1",
    ]
    assert main(["eval", "boxes", *words, "--json", "--document", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["objects"]) == (10, 10)
    (found,) = told["sets"]
    assert {one["name"]: round(one["precision"]["ap"], 3) for one in found["detectors"]} == {
        "blind": 0,
        "good": 1,
        "half": 0.505,
    }
    text = path.read_text()
    assert text.startswith("# Quality\n\n<!-- boxes:begin -->\n\nMade on ")
    assert text.endswith("<!-- boxes:end -->\n\nEnd\n")
    assert "windmill eval boxes --data made --against none --folds 2 --resamples 2\n" in text
    assert str(tmp_path) not in text
    assert "| good | 1.000 | 1.000 | 1.000 |" in text
    assert "\nold\n" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "A"], "--set A: expected NAME=A,B"),
        (["--set", "A=good,good"], "each name once"),
        (["--set", "A=good,nobody"], "--set A=good,nobody: no nobody among blind, good, half"),
        (["--against", "magic"], "--against magic: no magic among nms"),
        (["--folds", "1"], "--folds and --resamples: expected 2 or more"),
        (["--limit", "2"], "2 images are too few"),
    ],
)
def test_a_wrong_argument_is_named(three, capsys, words, message):
    assert main(["eval", "boxes", "--data", str(three), "--processes", "1", *words]) == 2
    assert message in capsys.readouterr().err


def test_who_interrupts_sees_the_sets_that_are_complete(three, capsys, monkeypatch):
    complete = report.reports

    def interrupted(plan, workers):
        yield from complete(plan, workers)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(report, "reports", interrupted)
    words = ["--against", "none", "--folds", "2", "--resamples", "2", "--processes", "1"]
    assert main(["eval", "boxes", "--data", str(three), *words]) == 130
    told = capsys.readouterr()
    assert "Set all as replies come in" in told.out
    assert "interrupted" in told.err


def test_a_section_is_replaced_and_not_doubled(tmp_path):
    path = tmp_path / "quality.md"
    for text in ("one", r"two \1"):
        document.write(path, "boxes", text)
        document.write(path, "votes", "three")
    assert path.read_text() == (
        "<!-- boxes:begin -->\n\ntwo \\1\n\n<!-- boxes:end -->\n"
        "\n<!-- votes:begin -->\n\nthree\n\n<!-- votes:end -->\n"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_section_is_not_guessed_at(tmp_path):
    path = tmp_path / "quality.md"
    path.write_text("<!-- boxes:begin -->\n")
    with pytest.raises(ConfigError, match="one of <!-- boxes:begin --> and <!-- boxes:end --> is missing"):
        document.write(path, "boxes", "new")
    with pytest.raises(ConfigError, match="cannot be written"):
        document.write(tmp_path / "nowhere" / "quality.md", "boxes", "new")


@pytest.mark.parametrize("command", ["boxes", "votes"])
def test_a_document_that_cannot_be_written_is_told_before_the_work_begins(command, tmp_path, capsys):
    """The folder of data is not there either: nobody has looked for it yet."""
    swapped, data = tmp_path / "swapped.md", tmp_path / "no"
    swapped.write_text("".join(f"<!-- {one}:end --><!-- {one}:begin -->" for one in ("boxes", "votes no")))
    for path, message in (
        (tmp_path / "nowhere" / "quality.md", f"there is no folder {tmp_path / 'nowhere'}"),
        (tmp_path, "it is a folder"),
        (swapped, "end --> stands before <!-- "),
    ):
        assert main(["eval", command, "--data", str(data), "--document", str(path)]) == 2
        told = capsys.readouterr().err
        assert f"{path}: " in told
        assert message in told
    assert list(tmp_path.iterdir()) == [swapped]


def test_a_name_does_not_end_a_cell():
    text = document.section("windmill", ["numpy"], [Sheet("T", ("a", "b"), (("x|y", "z"),), ("A note.",))])
    assert "\n| a | b |\n| --- | --- |\n| x\\|y | z |\n\nA note." in text
    assert f"numpy {np.__version__}" in text


def test_real_detections_are_compared(shared_data):
    """A few images of the real folder: that the figures are there, not how good they are."""
    source = Source(shared_data / "coco-boxes", 50)
    sets = {"C": report.KNOWN["C"]}
    with crew(1, lambda done: None) as workers:
        (found,) = report.reports(Plan(source, sets, rivals.METHODS["wbf"], rule.RULES, 2, 2), workers)
    assert found.unequal == 0
    assert all(stage.kept.moved == 0 for stage in found.stages)
    assert found.rules[0].precision.ap > max(one.precision.ap for one in found.detectors)


def test_scores_are_held_against_what_is_right():
    score = np.array([0.9, 0.9, 0.2, 0.2, 0.5])
    right = np.array([[True, True, False, True, True]])
    ignored = np.array([[False, False, False, False, True]])
    none = np.zeros(5, np.int64)
    found = reliability.bins(Matches(none, none, none, score, right, ignored))
    assert sum(one.count for one in found) == 4
    assert reliability.calibration_error(found) == pytest.approx((0.1 + 0.1 + 0.2 + 0.8) / 4)
