"""What is learned about detectors, from detectors that are made up here."""

from datetime import UTC, datetime

import numpy as np
import pytest

from windmill.calibrating import boxes
from windmill.calibrating.boxes import Ideas, learn
from windmill.calibrating.regression import Examples, Expected, logistic, mean_weights
from windmill.calibrating.table import LabelledImage
from windmill.core import merging
from windmill.errors import ConfigError
from windmill.model import Box, Detection, ServiceReply, StoredReply

IMAGES = 250
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def seen(x, y, width=100.0, height=100.0, confidence=0.6, what="car"):
    box = Box(x=x, y=y, width=width, height=height)
    return Detection(label=what, emoji="", confidence=confidence, class_name=what, box=box)


def reply(service, *detections, knows=frozenset({"car"})):
    said = ServiceReply(service=service, service_types=("spatial",), knows=knows, detections=detections)
    return StoredReply(result_id=1, created=THEN, reply=said)


def made(*detectors, images=IMAGES, **fields):
    """Images with one car each, where there is room for a wrong box beside it, as `detectors` see them."""
    chance = np.random.default_rng(7)
    for _ in range(images):
        x, y = chance.uniform(0, 300, 2)
        replies = tuple(detector(chance, x, y) for detector in detectors)
        yield LabelledImage(replies, (seen(x, y, confidence=1.0),), **fields)


def detector(name, *, misses=0.1, errs=0.2, blur=2.0, confidence=0.6):
    """One that overlooks some cars, sees some that are not there, and draws boxes with an error in pixels."""

    def look(chance, x, y):
        found = []
        if chance.random() >= misses:
            off = chance.normal(0, blur, 2)
            found.append(seen(x + off[0], y + off[1], confidence=confidence))
        if chance.random() < errs:
            found.append(seen(x + 500, y, confidence=confidence))
        return reply(name, *found)

    return look


def test_a_detector_that_errs_less_is_believed_more():
    learned = learn(list(made(detector("good", errs=0.05), detector("bad", errs=0.8))))
    good, bad = learned.known["good"], learned.known["bad"]
    at_60 = np.log(0.6 / 0.4)
    assert good.right + good.slope * at_60 > bad.right + bad.slope * at_60 + 1


def test_a_detector_that_places_better_moves_the_corners_more():
    learned = learn(list(made(detector("sharp", blur=1.0), detector("blurred", blur=8.0))))
    sharp, blurred = learned.known["sharp"], learned.known["blurred"]
    at_60 = np.log(0.6 / 0.4)
    assert sharp.place + sharp.place_slope * at_60 > blurred.place + blurred.place_slope * at_60 + 1


def test_silence_of_who_overlooks_nothing_weighs_more():
    thorough, careless = detector("thorough", misses=0.0, errs=0.3), detector("careless", misses=0.6)
    learned = learn(list(made(thorough, careless, detector("other", errs=0.6))))
    assert learned.known["thorough"].silent < learned.known["careless"].silent <= 0


def test_scores_say_how_often_boxes_are_right():
    """Learned on some images, and held against others, with all replies and with one."""
    detectors = detector("a", errs=0.5), detector("b", misses=0.3, errs=0.3), detector("c", errs=0.7)
    images = list(made(*detectors, images=2 * IMAGES))
    learned = learn(images[:IMAGES])
    for replies in (3, 2):
        judged = [
            (box.score, abs(box.box.x - image.truth[0].box.x) < 30)
            for image in images[IMAGES:]
            for box in merging.candidates(image.replies[:replies], learned)
        ]
        score, right = np.array(judged, float).T
        assert score.mean() == pytest.approx(right.mean(), abs=0.05)
        assert score[right == 1].mean() > score[right == 0].mean() + 0.1


def test_what_was_left_out_is_worth_nothing():
    images = list(made(detector("a", errs=0.5), detector("b", blur=6.0, errs=0.1)))
    alike = learn(images, Ideas(each=False)).known
    assert {one.right for one in alike.values()} == {alike["a"].right}
    assert learn(images, Ideas(silence=False)).average.silent == 0
    assert learn(images, Ideas(rivals=False)).overlap == 0
    plain = learn(images, Ideas(places=False, chances=False)).known["b"]
    assert (plain.right, plain.slope, plain.place, plain.place_slope) == (0, 1, 0, 0)


def test_learning_twice_gives_the_same():
    images = list(made(detector("a", errs=0.5), detector("b")))
    assert learn(images) == learn(images)


def test_one_detector_alone_is_enough_to_learn_from():
    learned = learn(list(made(detector("only", errs=0.6))))
    assert learned.known["only"].place == 0
    assert learned.average.silent == boxes._EXPECTED.silent  # nobody was ever silent


def test_boxes_on_crowds_are_neither_right_nor_wrong():
    crowd = seen(400, -1000, width=250, height=3000)
    without = learn(list(made(detector("a", errs=0.6), detector("b"), crowds=(crowd,), images=100)))
    with_them = learn(list(made(detector("a", errs=0.6), detector("b"), images=100)))
    assert without.known["a"].right > with_them.known["a"].right


def test_few_images_change_little():
    few, many = (learn(list(made(detector("a", errs=0.9), images=count))) for count in (2, IMAGES))
    expected = boxes._EXPECTED
    assert abs(few.known["a"].right - expected.right) < abs(many.known["a"].right - expected.right)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ConfigError, match="nothing to learn from"):
        learn(list(made(detector("blind", misses=1, errs=0), images=10)))


def test_logistic_regression_finds_what_made_the_examples():
    chance = np.random.default_rng(1)
    features = np.stack([np.ones(20_000), chance.normal(0, 2, 20_000)], axis=1)
    true = (chance.random(20_000) < 1 / (1 + np.exp(-(features @ [-1.0, 0.7])))).astype(float)
    found = logistic(Examples(features, true), Expected(np.zeros(2), np.full(2, 0.1), np.full(2, np.inf)))
    assert found == pytest.approx([-1.0, 0.7], abs=0.06)


def test_logistic_regression_survives_far_outliers():
    """Confidences of 0.999999 have logits of 14: a whole Newton step would lead nowhere."""
    features = np.array([[1.0, 13.8]] * 500 + [[1.0, -0.5]] * 500 + [[1.0, 0.5]] * 500)
    true = np.array([1.0] * 450 + [0.0] * 50 + [0.0] * 350 + [1.0] * 150 + [0.0] * 250 + [1.0] * 250)
    expected = Expected(np.array([-0.5, 1.0]), np.ones(2), np.full(2, np.inf))
    found = logistic(Examples(features, true), expected)
    gradient = features.T @ (true - 1 / (1 + np.exp(-features @ found))) - (found - expected.weights)
    assert gradient == pytest.approx([0, 0], abs=1e-2)


def test_a_weight_stays_below_what_it_may_be():
    features = np.ones((100, 1))
    found = logistic(Examples(features, np.ones(100)), Expected(np.zeros(1), np.ones(1), np.zeros(1)))
    assert found == [0.0]


def test_mean_weights_are_those_of_the_smaller_errors():
    """Two parts, one with a tenth of the other's error: least squares would give it 100/101 of the mean."""
    chance = np.random.default_rng(2)
    errors = np.stack([chance.normal(0, 0.02, (4000, 4)), chance.normal(0, 0.2, (4000, 4))], axis=1)
    features = np.tile(np.eye(2), (4000, 1, 1))
    found = mean_weights(errors, features, np.ones((4000, 2)), np.zeros(2), 1e-6)
    assert found[0] - found[1] == pytest.approx(np.log(100), abs=0.7)
