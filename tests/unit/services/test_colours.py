"""Colour arithmetic and names."""

import numpy as np
import pytest

from windmill.services.base import Photo
from windmill.services.colors import Colors, nearest, temperature
from windmill.services.colour_difference import ciede2000, lab

# Pairs 1, 4, 7, 17, 19, 25 and 34 of Sharma, Wu and Dalal 2005, table 1.
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((50.0, 2.5, 0.0), (56.0, -27.0, -3.0), 31.9030),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_differences_are_those_of_the_paper(first, second, expected):
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)


def rgb(code):
    return lab(np.array([list(bytes.fromhex(code))], np.uint8))[0]


def test_a_colour_gets_the_nearest_name_of_each_range():
    assert nearest("prismacolor", rgb("c8102e")) == "Crimson Red"
    assert nearest("copic", rgb("2f5b7d")) == "B99 Agate"


@pytest.mark.parametrize(("code", "said"), [("e02020", "warm"), ("2030e0", "cool"), ("808080", "neutral")])
def test_a_colour_is_warm_or_cool(code, said):
    assert temperature(rgb(code)) == said


def test_the_palette_is_ordered_by_share():
    pixels = np.full((40, 40, 3), (200, 16, 46), np.uint8)
    pixels[:10] = (20, 20, 220)
    (found,) = Colors().alone(Photo(data=b"", pixels=pixels))["predictions"]
    assert found["primary"]["share"] == pytest.approx(0.75, abs=0.02)
    assert found["primary"]["prismacolor"] == "Crimson Red"
    assert sum(colour["share"] for colour in found["palette"]["colors"]) == pytest.approx(1, abs=0.01)


def test_a_difference_is_the_same_from_either_side():
    opposite = np.array([[50.0, 10.0, 0.0], [50.0, 0.0, 20.0], [40.0, 3.0, -4.0]])
    mirrored = opposite * [1, -1, -1]
    assert np.allclose(ciede2000(opposite, mirrored), ciede2000(mirrored, opposite))
    some = np.random.default_rng(1).uniform([0, -80, -80], [100, 80, 80], (2, 500, 3))
    assert np.allclose(ciede2000(some[0], some[1]), ciede2000(some[1], some[0]))
