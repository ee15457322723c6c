"""The file that keeps what was learned about detectors and voters."""

import json
from dataclasses import replace

import pytest

from tests.detectors import AVERAGE
from tests.unit.test_calibrated import VOTERS
from windmill import calibration
from windmill.calibration import Calibration, Learned
from windmill.errors import ConfigError
from windmill.model import Detector

SURE = Detector(right=-1.25, slope=1.5, place=0.3, place_slope=-0.1, silent=0.0, count=7)
KEPT = Calibration(
    learned=Learned(sources=("photos",), images=3),
    boxes=replace(AVERAGE, known={"yolov8": SURE}),
    voters=VOTERS,
)


@pytest.fixture
def written(tmp_path):
    """Writes a calibration, or a document with one number in it replaced; gives the path."""
    path = tmp_path / "calibration.json"

    def write(kept=KEPT, place=(), value=None):
        document = json.loads(calibration.text(kept))
        if place:
            within = document
            for key in place[:-1]:
                within = within[key]
            within[place[-1]] = value
        path.write_text(json.dumps(document))
        return path

    return write


def test_the_file_keeps_what_was_learned(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(calibration.text(KEPT), "utf-8")
    assert calibration.load(path) == KEPT


def test_two_files_differ_in_the_lines_of_the_detectors_and_voters_that_do():
    detectors = replace(KEPT.boxes, known={"yolov8": replace(SURE, silent=-0.5), "ssdlite": SURE})
    before = calibration.text(KEPT).splitlines()
    after = calibration.text(replace(KEPT, boxes=detectors)).splitlines()
    assert len(after) == len(before) + 1
    assert len(set(before) - set(after)) == 1


def test_the_calibration_that_ships_can_be_read():
    shipped = calibration.load()
    assert {"nanodet", "ssdlite", "centernet", "xception"} <= shipped.voters.known.keys()
    assert shipped.learned.images > 100


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (["version"], 2, "the file.version: 2"),
        (["faces"], {}, "faces: missing or unknown"),
        (["voters"], [], "the file.voters: expected an object"),
        (["voters", "together"], 2, "the file.voters.together: expected a number from 0 to 1"),
        (["voters", "average", "slope"], -1.0, "the file.voters.average.slope: expected a number from 0"),
        (["boxes"], None, "the file.boxes: expected an object"),
        (["boxes", "agreement"], -0.1, "the file.boxes.agreement: expected a number from 0"),
        (["boxes", "overlap"], 0.1, "the file.boxes.overlap: expected a number from -20 to 0"),
        (["boxes", "bias"], "1", "the file.boxes.bias: expected a number"),
        (["boxes", "average", "silent"], 0.1, "the file.boxes.average.silent: expected a number"),
        (["boxes", "known", "yolov8", "slope"], -1, "the file.boxes.known.yolov8.slope: expected a number"),
        (["boxes", "known", "yolov8", "right"], float("nan"), "the file.boxes.known.yolov8.right: "),
        (["boxes", "known", "yolov8", "place"], 1000, "the file.boxes.known.yolov8.place: expected a number"),
        pytest.param(["boxes", "average", "place"], 10**400, "the file.boxes.average.place: ", id="large"),
        (["voters", "prior"], float("inf"), "the file.voters.prior: expected a number"),
        (["boxes", "known", "yolov8", "count"], -1, "the file.boxes.known.yolov8.count: expected a whole"),
        (["boxes", "known", "yolov8", "weight"], 1, "the file.boxes.known.yolov8: weight: missing or unk"),
    ],
)
def test_what_is_no_calibration_is_told_by_its_key(written, place, value, said):
    path = written(place=place, value=value)
    with pytest.raises(ConfigError) as told:
        calibration.load(path)
    assert said in str(told.value)
    assert str(path) in str(told.value)


def test_a_file_that_is_not_there_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match="CALIBRATION"):
        calibration.load(tmp_path / "none.json")
