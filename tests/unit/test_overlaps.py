"""Pairs of boxes that overlap: the same as when each is compared with each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from windmill.core import geometry, overlaps
from windmill.core.overlaps import Touching, iou, neighbours, pairs
from windmill.model import Box

ENDS = (0.0, 1.0, 3.0, 7.0, 10.0, 10.5, 200.0, 1e-200, -5.0, 1e9, -1e9)


def corners(rows):
    return np.array(rows, float).reshape(-1, 4)


def found(boxes, group, least):
    """Pairs as a set, the smaller number first, with their IoU."""
    one, other, overlap = pairs(boxes, group, least)
    lines = zip(
        np.minimum(one, other).tolist(), np.maximum(one, other).tolist(), overlap.tolist(), strict=True
    )
    return sorted(lines)


def expected(boxes, group, least):
    """Each with each."""
    one, other = np.triu_indices(len(boxes), 1)
    overlap = iou(boxes[one], boxes[other])
    chosen = (overlap >= least) & (group[one] == group[other])
    return list(zip(one[chosen].tolist(), other[chosen].tolist(), overlap[chosen].tolist(), strict=True))


def scattered(seed, many, groups, size=100.0):
    random = np.random.default_rng(seed)
    start = random.random((many, 2)) * 300
    boxes = np.hstack([start, start + np.exp(random.normal(0, 1, (many, 2))) * size])
    return boxes, random.integers(0, groups, many)


@pytest.mark.parametrize("least", [0.05, 0.3, 0.65, 1.0])
@pytest.mark.parametrize(("many", "groups"), [(0, 1), (1, 1), (2, 1), (40, 3), (300, 1), (300, 40)])
def test_the_pairs_are_those_that_comparing_each_with_each_finds(many, groups, least):
    boxes, group = scattered(many, many, groups)
    assert found(boxes, group, least) == expected(boxes, group, least)


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(float, st.tuples(st.integers(0, 12), st.just(4)), elements=st.sampled_from(ENDS)),
    st.lists(st.integers(0, 2), min_size=12, max_size=12),
    st.sampled_from([0.3, 0.5, 0.65, 1.0]),
)
def test_empty_huge_and_equal_boxes_pair_as_any_others(drawn, groups, least):
    boxes = np.hstack([np.minimum(drawn[:, :2], drawn[:, 2:]), np.maximum(drawn[:, :2], drawn[:, 2:])])
    group = np.array(groups[: len(boxes)])
    assert found(boxes, group, least) == expected(boxes, group, least)


def test_a_box_far_away_hides_no_pair_however_exact_the_overlap():
    start, width = np.random.default_rng(0).random((2, 50, 1)) * 300
    whole, part = (
        np.hstack([start, 9 * start, start + share * width, 9 * start + width]) for share in (1, 0.65)
    )
    far = corners([(1e9, 1e9, 1e9 + 1, 1e9 + 1)])
    boxes, group = np.vstack([whole, part, far]), np.repeat([99, 0], [100, 1])
    assert found(boxes, group, 0.65 - 1e-9) == expected(boxes, group, 0.65 - 1e-9)
    assert len(expected(boxes, group, 0.65 - 1e-9)) >= 50


@pytest.mark.parametrize("batch", [1, 7, 1000, 10**9])
def test_pairs_found_in_batches_are_all_the_pairs(monkeypatch, batch):
    monkeypatch.setattr(overlaps, "_BATCH", batch)
    boxes, group = scattered(0, 100, 2)
    touching = Touching(boxes, group, 0.3)
    whole = [one.tolist() for one in pairs(boxes, group, 0.3)]
    for _ in range(2):  # they can be asked for again
        assert [np.concatenate(part).tolist() for part in zip(*touching, strict=True)] == whole


def test_groups_never_meet():
    same = corners([(0, 0, 10, 10)] * 4)
    assert [line[:2] for line in found(same, np.array([0, 1, 0, 1]), 0.5)] == [(0, 2), (1, 3)]


@pytest.mark.parametrize("lines", [(0, 1), (1, 0)], ids=["lines of text", "columns of text"])
def test_boxes_of_one_width_above_each_other_are_not_compared_each_with_each(lines):
    places = np.arange(2000) * 12.0
    across, along = np.zeros(2000), places
    start = np.stack([(across, along)[one] for one in lines], axis=1)
    size = np.array([(1000.0, 10.0)[one] for one in lines])
    assert neighbours(np.hstack([start, start + size]), np.zeros(2000, int), 0.3).count < 10_000


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 8)] * 2), min_size=2, max_size=2))
def test_the_iou_of_rows_is_that_of_boxes(drawn):
    one, other = (Box(x=x, y=y, width=width, height=height) for x, y, width, height in drawn)
    rows = corners([(box.x, box.y, box.x + box.width, box.y + box.height) for box in (one, other)])
    assert iou(rows[:1], rows[1:])[0] == pytest.approx(geometry.iou(one, other), abs=1e-12)


def test_areas_too_small_for_a_number_share_nothing():
    speck = corners([(0, 0, 1e-200, 1e-200)])
    assert iou(speck, speck)[0] == 0
