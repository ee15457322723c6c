"""A crop's findings in the image's pixels."""

import json
from pathlib import Path

from windmill.core.placing import place

SAMPLES = Path(__file__).parents[1] / "samples"


def placed(sample):
    body = (SAMPLES / f"{sample}.json").read_bytes()
    return json.loads(place(body, left=100, top=200, width=50, height=60))


def test_faces_and_their_keypoints_move_with_the_crop():
    face = placed("face")["predictions"][0]
    assert face["bbox"] == [112, 230, 40, 50]
    assert face["keypoints"] == {"left_eye": [120, 245], "right_eye": {"x": 140, "y": 246}}


def test_boxes_in_dict_form_move_too():
    assert placed("yolov8")["predictions"][0]["bbox"] == {"x": 349, "y": 216, "width": 391, "height": 434}


def test_landmarks_stay_fractions_and_the_crop_places_them():
    reply = placed("pose")
    assert reply["predictions"][0]["landmarks"]["nose"]["x"] == 0.5
    assert reply["crop"] == {"x": 100, "y": 200, "width": 50, "height": 60}


def test_corners_in_list_form_both_move():
    body = json.dumps({"predictions": [{"bbox": [1, 2, 11, 12]}]}).encode()
    moved = json.loads(place(body, left=100, top=200, width=50, height=60, bbox_format="xyxy"))
    assert moved["predictions"][0]["bbox"] == [101, 202, 111, 212]
