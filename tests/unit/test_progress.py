"""How fast work goes, and how long it will take: what was passed in no time says nothing about the rest."""

import pytest

from windmill.progress import Lately, describe


def test_a_lately_is_that_of_the_last_half_minute():
    pace = Lately(0.0)
    for second in range(1, 11):
        pace(1000 * second, float(second))  # what was done already
    rates = [pace(10_000 + 5 * second, 10.0 + second) for second in range(1, 62)]
    assert rates[0] == pytest.approx(10_005 / 11)
    assert rates[-1] == pytest.approx(5)


def test_a_lately_is_told_from_the_first_moment_on():
    pace = Lately(0.0)
    assert pace(3, 0.5) == 6
    assert pace(0, 0.0) == 0


def test_what_is_left_follows_from_the_lately():
    assert describe(100, 200, 5.0, "images") == "100 of 200 images, 5 images/s, 0:00:20 left"
