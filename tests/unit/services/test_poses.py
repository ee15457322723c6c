"""The arithmetic of poses: angles of joints, squares around people, what the detector's numbers mean."""

import cv2
import numpy as np
import pytest

from windmill.services import blazepose, body
from windmill.services.body import Point

SEEN = 0.9


def points(**places):
    """Every point of a body, far off and hidden but for those that are given."""
    hidden = {name: Point(x=0.0, y=0.0, visibility=0.1) for name in blazepose.NAMES}
    return hidden | {name: Point(x=x, y=y, visibility=SEEN) for name, (x, y) in places.items()}


@pytest.mark.parametrize(
    ("wrist", "angle"),
    [((10, 30), 180.0), ((20, 20), 90.0), ((0, 20), 90.0), ((10, 10), 0.0), ((15, 25), 135.0)],
)
def test_an_elbow_is_stretched_or_bent(wrist, angle):
    arm = points(left_shoulder=(10, 10), left_elbow=(10, 20), left_wrist=wrist)
    assert body.joint_angles(arm, 0.5) == {"left_elbow": angle}


def test_all_joints_of_who_is_seen_have_an_angle():
    standing = {name: (5.0, n * 10.0) for n, name in enumerate(blazepose.NAMES)}
    angles = body.joint_angles(points(**standing), 0.5)
    assert set(angles) == {
        f"{s}_{j}" for s in ("left", "right") for j in ("elbow", "knee", "shoulder", "hip")
    }


def test_a_joint_with_a_hidden_point_has_no_angle():
    assert body.joint_angles(points(left_shoulder=(10, 10), left_elbow=(10, 20)), 0.5) == {}


def test_points_that_coincide_have_an_angle_that_json_can_hold():
    arm = points(left_shoulder=(1, 1), left_elbow=(1, 1), left_wrist=(1, 1))
    assert body.joint_angles(arm, 0.5) == {"left_elbow": 0.0}


def test_angles_are_of_pixels_whatever_the_crops_shape():
    arm = points(left_shoulder=(0, 100), left_elbow=(0, 0), left_wrist=(100, 100))
    found = body.prediction(arm, 1000, 200, presence=1.0, visible=0.5)
    assert found["pose_analysis"]["joint_angles"] == {"left_elbow": 45.0}
    assert found["landmarks"]["left_wrist"] == {"x": 0.1, "y": 0.5, "visibility": SEEN}


def test_what_lies_outside_is_at_the_border_and_not_visible():
    arm = points(left_shoulder=(50, 10), left_elbow=(50, 100), left_wrist=(-20, 250))
    found = body.prediction(arm, 100, 200, presence=1.0, visible=0.5)
    assert found["landmarks"]["left_wrist"] == {"x": 0.0, "y": 1.0, "visibility": 0.0}
    assert found["pose_analysis"]["joint_angles"] == {}


@pytest.mark.parametrize("turn", [0.0, 0.4, -2.0])
def test_a_square_of_a_photo_and_back(turn):
    onto = blazepose.square((300.0, 100.0), 512.0, turn, 256)
    raw = np.array([[128, 128, 10, 0, 0], [128, 0, 0, 40, 0]], np.float32)
    (center, above) = blazepose.placed(raw, onto)
    np.testing.assert_allclose(center, [300, 100, 20, 0.5], atol=1e-3)
    np.testing.assert_allclose(above[:2], [300 + 256 * np.sin(turn), 100 - 256 * np.cos(turn)], atol=1e-3)
    assert above[3] == pytest.approx(1.0)


def detected(*scores):
    """What the detector says when each of these scores is at an anchor of its own: the first of the first
    cells of the coarsest grid, 32 pixels apart, with boxes of 40 × 40 and people of 30 pixels' radius."""
    raw = np.zeros((2254, 13), np.float32)
    raw[:, 0] = -100
    for n, score in enumerate(scores):
        raw[1568 + 392 + 6 * n, :9] = [score, 0, 0, 40, 40, 1, 2, 1, -28]
    return raw


def test_people_are_found_where_their_anchors_are():
    back = np.array(
        [[2, 0, 5], [0, 2, 7]], np.float32
    )  # the photo is twice the detector's picture, and moved
    ((center, top),) = blazepose.found(detected(3.0), back)
    np.testing.assert_allclose(center, [(16 + 1) * 2 + 5, (16 + 2) * 2 + 7])
    np.testing.assert_allclose(top, [(16 + 1) * 2 + 5, (16 - 28) * 2 + 7])


def test_two_boxes_on_one_person_are_one_and_weak_ones_none():
    back = cv2.getRotationMatrix2D((0, 0), 0, 1).astype(np.float32)
    raw = detected(2.0, -1.0, 3.0)
    raw[1568 + 392 + 1] = raw[1568 + 392]  # the next anchor of the same cell
    assert len(blazepose.found(raw, back)) == 2
    assert blazepose.found(detected(), back) == []
