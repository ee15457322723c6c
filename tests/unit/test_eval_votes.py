"""What the figures of `windmill eval votes` say, on answers that are made up here."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from windmill import calibration
from windmill.cli import main
from windmill.evaluating.boxes import folder
from windmill.evaluating.votes import scores
from windmill.evaluating.votes.cases import Cases
from windmill.evaluating.votes.crossing import fold_of

ONCE = np.ones((1, 3))
UNSAID = -np.inf


def test_average_precision_is_the_area_under_precision_over_recall():
    """True, false, true: precision 1 up to half of the recall, 2/3 up to all of it."""
    score, truth = np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]])
    assert scores.mean_average_precision(score, truth, ONCE)[0] == pytest.approx((1 + 2 / 3) / 2)


def test_what_nobody_named_is_missed_and_what_is_equal_comes_at_once():
    score, truth = np.array([[0.5], [0.5], [UNSAID]]), np.array([[True], [False], [True]])
    assert scores.mean_average_precision(score, truth, ONCE)[0] == pytest.approx(0.5 / 2)


def test_labels_count_alike_in_the_mean_and_by_their_number_in_the_micro_average():
    score = np.array([[0.9, 0.1], [0.8, UNSAID], [UNSAID, 0.7]])
    truth = np.array([[True, True], [True, False], [False, False]])
    assert scores.mean_average_precision(score, truth, ONCE)[0] == pytest.approx((1 + 1 / 2) / 2)
    assert scores.micro_average_precision(score, truth, ONCE)[0] == pytest.approx((1 + 1 + 3 / 4) / 3)


def test_a_draw_counts_an_image_as_often_as_it_was_drawn():
    score, truth = np.array([[0.9], [0.8], [0.7]]), np.array([[True], [False], [True]])
    drawn = scores.mean_average_precision(score, truth, np.array([[1.0, 0.0, 2.0]]))
    assert drawn[0] == pytest.approx(1)


def test_f1_of_an_image():
    chosen = np.array([[True, True], [False, False], [True, False]])
    truth = np.array([[True, False], [False, False], [False, True]])
    assert scores.f1(chosen, truth) == pytest.approx([2 / 3, 1, 0])


def test_the_calibration_error_is_the_distance_between_said_and_true():
    said, true = np.full(60, 0.8), np.arange(60) % 2 == 0
    assert scores.calibration_error(said, true) == pytest.approx(0.3, abs=0.04)
    assert scores.calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0


def test_the_fold_of_an_image_hangs_on_its_name_alone():
    folds = [fold_of(str(n), 5) for n in range(1000)]
    assert folds[7] == fold_of("7", 5)
    assert all(150 < folds.count(n) < 250 for n in range(5))


@pytest.fixture
def detections(tmp_path):
    """120 images with a dog or a car. good is mostly right, bad guesses; both are as sure as they like."""
    chance = random.Random(1)  # noqa: S311 -- no secret
    images, truth, said = [], [], {"good": [], "bad": []}
    for n in range(120):
        images.append({"id": n, "width": 100, "height": 100})
        shown = chance.choice([1, 2])
        truth.append({"image_id": n, "category_id": shown, "bbox": [10, 10, 50, 50]})
        for name, right in (("good", 0.9), ("bad", 0.55)):
            seen = shown if chance.random() < right else 3 - shown
            box = [10 + chance.random(), 10, 50, 50]
            score = round(chance.uniform(0.4, 0.9), 3)
            said[name].append({"image_id": n, "category_id": seen, "bbox": box, "score": score})
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "car"}]
    told = {"images": images, "annotations": truth, "categories": categories}
    (tmp_path / "ground_truth.json").write_text(json.dumps(told))
    for name, boxes in said.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(boxes))
    return tmp_path


def test_a_folder_of_detections_is_measured_and_written_down(detections, tmp_path, capsys):
    document = tmp_path / "quality.md"
    words = ["eval", "votes", "--data", str(detections), "--resamples", "20", "--json"]
    assert main([*words, "--document", str(document)]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in told["rows"]}
    assert list(rows) == ["V3", "calibrated", "votes / services", "bad", "good"]
    assert rows["calibrated"]["mean_ap"]["value"] > rows["V3"]["mean_ap"]["value"]
    assert rows["calibrated"]["error"] < 0.15 < rows["good"]["error"]
    assert rows["good"]["mean_ap"]["chance"] < rows["good"]["mean_ap"]["value"]
    assert told["voters"]["known"]["good"]["right"] > told["voters"]["known"]["bad"]["right"]
    written = document.read_text("utf-8")
    assert "<!-- votes " in written
    assert "| calibrated |" in written
    assert str(tmp_path.parent) not in written
    (apart,) = [one for one in written.splitlines() if one.startswith("Truer than voters say")]
    assert all(apart.count(label) <= 1 for label in "🐕🚗")


def test_classes_that_coco_does_not_have_count_on_neither_side(detections, capsys):
    words = ["eval", "votes", "--data", str(detections), "--resamples", "2", "--json"]
    assert main(words) == 0
    before = json.loads(capsys.readouterr().out)
    truth = detections / "ground_truth.json"
    told = json.loads(truth.read_text())
    told["categories"].append({"id": 3, "name": "forklift"})
    told["annotations"] += [
        {"image_id": n, "category_id": 3, "bbox": [60, 60, 9, 9]} for n in range(0, 120, 2)
    ]
    truth.write_text(json.dumps(told))
    good = detections / "good.json"
    seen = {"image_id": 0, "category_id": 3, "bbox": [60, 60, 9, 9], "score": 0.5}
    good.write_text(json.dumps([*json.loads(good.read_text()), seen]))
    folder.load.cache_clear()  # a process of its own reads the files anew
    assert main(words) == 0
    after = json.loads(capsys.readouterr().out)
    assert after.pop("unjudged") == before.pop("unjudged") + 1
    assert after["rows"] == before["rows"]


def test_a_calibration_is_learned_and_can_be_read(detections, tmp_path, capsys):
    out = tmp_path / "calibration" / "own.json"
    nodata = str(tmp_path / "nodata")  # which nobody has looked for yet
    assert main(["calibrate", "--data", nodata, "--out", str(out)]) == 2
    assert f"{out}: cannot be written: there is no folder" in capsys.readouterr().err
    out.parent.mkdir()
    assert main(["calibrate", "--data", str(detections), "--out", str(out)]) == 0
    made = calibration.load(out)
    assert (made.learned.sources, made.learned.images) == ((detections.name,), 120)
    assert made.voters.known.keys() == made.boxes.known.keys() == {"good", "bad"}
    assert made.boxes.known["good"].right > made.boxes.known["bad"].right


@pytest.fixture
def forklifts(detections):
    """The same images and boxes, of things for which COCO has no class."""
    truth = detections / "ground_truth.json"
    told = json.loads(truth.read_text())
    told["categories"] = [{"id": 1, "name": "forklift"}, {"id": 2, "name": "pallet"}]
    truth.write_text(json.dumps(told))
    return detections


def test_detectors_of_classes_that_coco_lacks_are_learned_and_voters_are_kept(
    forklifts, tmp_path, capsys, monkeypatch
):
    used, out = tmp_path / "used" / "used.json", tmp_path / "used" / "own.json"
    used.parent.mkdir()
    shipped = calibration.load()
    used.write_text(calibration.text(replace(shipped, voters=replace(shipped.voters, prior=-7.0))))
    monkeypatch.setenv("CALIBRATION", str(used))
    assert main(["calibrate", "--data", str(forklifts), "--out", str(out)]) == 0
    made = calibration.load(out)
    assert made.boxes.known.keys() == {"good", "bad"}
    assert made.voters.prior == -7.0
    assert f"voters: kept from {used}: too little to learn from: " in capsys.readouterr().err


def test_voters_without_boxes_to_hold_against_are_learned_and_detectors_are_kept(
    detections, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Cases, "boxes", ())  # as of photos that only classifiers looked at
    out = tmp_path / "own.txt"
    assert main(["calibrate", "--data", str(detections), "--out", str(out)]) == 0
    made = calibration.load(out)
    assert made.boxes == calibration.load().boxes
    assert made.voters.known.keys() == {"good", "bad"}
    assert "boxes: kept from the calibration.json that ships: nothing to learn" in capsys.readouterr().err


def test_photos_on_which_nobody_names_anything_are_told(tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    about = [{"file_name": "a.png", "objects": [{"label": "dog", "bbox": [0, 0, 9, 9]}]}]
    (tmp_path / "photos.json").write_text(json.dumps(about))
    words = ["--data", str(tmp_path), "--services", "colors"]
    assert main(["eval", "votes", *words]) == 2
    assert "nobody named anything" in capsys.readouterr().err
    assert main(["calibrate", *words, "--out", str(tmp_path / "own.txt")]) == 2
    told = capsys.readouterr().err
    assert "boxes: nothing to learn from" in told
    assert "; voters: too little to learn from" in told
    assert not (tmp_path / "own.txt").exists()


@pytest.mark.parametrize("words", [["--services", "nanodet"], ["--folds", "1"]])
def test_arguments_that_make_no_sense_are_told(detections, words, capsys):
    assert main(["eval", "votes", "--data", str(detections), *words]) == 2
    assert "--services" in capsys.readouterr().err or "--folds" in words
