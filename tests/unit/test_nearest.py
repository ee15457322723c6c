"""Search by meaning: which embeddings are nearest, and what their mean is."""

import pytest

from windmill.core.nearest import mean, nearest

STORED = {"north": (0.0, 1.0), "east": (1.0, 0.0), "south": (0.0, -1.0), "also north": (0.0, 1.0)}


def test_the_nearest_come_first_with_their_cosines():
    assert nearest((0.6, 0.8), STORED, 3) == [
        ("north", pytest.approx(0.8)),
        ("also north", pytest.approx(0.8)),
        ("east", pytest.approx(0.6)),
    ]


def test_all_are_found_where_there_are_few():
    assert [key for key, _ in nearest((0.0, -1.0), STORED)] == ["south", "east", "north", "also north"]


def test_nothing_stored_is_nothing_found():
    assert nearest((1.0, 0.0), {}) == []


def test_what_another_model_made_is_named():
    with pytest.raises(ValueError, match=r"old: its embedding has 3 numbers, the query's 2"):
        nearest((1.0, 0.0), {**STORED, "old": (1.0, 0.0, 0.0)})


def test_a_mean_has_length_1_and_leans_to_the_heavier():
    assert mean([(1.0, 0.0), (0.0, 1.0)]) == pytest.approx((0.5**0.5, 0.5**0.5))
    assert mean([(1.0, 0.0), (0.0, 1.0)], (3.0, 4.0)) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("vectors", [[], [(1.0, 0.0), (-1.0, 0.0)]])
def test_what_has_no_direction_has_no_mean(vectors):
    with pytest.raises(ValueError, match="no direction"):
        mean(vectors)
