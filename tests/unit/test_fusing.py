"""The arithmetic of merging: who belongs together, where, and how sure that is."""

import tracemalloc
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from windmill.core import fusing
from windmill.core.fusing import Sightings, Weights
from windmill.core.overlaps import iou

SERVICES = 3


def weights(services=SERVICES):
    """The first service is the best, the last the worst."""
    falling = np.linspace(0, -1, services)
    return Weights(
        right=falling,
        slope=np.full(services, 0.9),
        place=falling,
        place_slope=np.full(services, 0.5),
        silent=np.linspace(-0.6, -0.1, services),
        bias=1.0,
        agreement=1.2,
        overlap=-5.0,
    )


def sightings(*rows):
    """Of (service, confidence, left, top, right, bottom) or (…, group)."""
    table = np.array([(*row, 0)[:7] for row in rows], float).reshape(-1, 7)
    service, group = table[:, 0].astype(int), table[:, 6].astype(int)
    return Sightings(table[:, 2:6].copy(), fusing.logit(table[:, 1]), service, group)


def placed(seen, by=None):
    by = by or weights()
    chance = fusing.chances(seen, by)
    return fusing.placed(seen, fusing.clusters(seen, chance), chance, by)


def scores(seen, by=None):
    by, found = by or weights(), placed(seen, by)
    knows = np.ones((len(by.right), seen.group.max(initial=0) + 1), bool)
    quiet = fusing.silence(seen, found.clusters, knows, by)
    return fusing.score(found, quiet, np.ones(len(quiet), bool), by)


def leaders(seen):
    """Of each box the number of its cluster's surest."""
    found = placed(seen).clusters
    return found.leader[found.cluster].tolist()


def test_the_surest_leads_by_its_chance_not_by_its_confidence():
    assert leaders(sightings((2, 0.8, 0, 0, 10, 10), (0, 0.7, 0, 0, 10, 9))) == [1, 1]


def test_of_two_boxes_of_one_service_the_nearer_joins():
    seen = sightings((0, 0.9, 0, 0, 100, 100), (1, 0.3, 0, 0, 100, 95), (1, 0.2, 0, 0, 100, 70))
    assert leaders(seen) == [0, 0, 2]


def test_the_surer_joins_first_even_where_the_other_is_nearer():
    seen = sightings((0, 0.9, 0, 0, 100, 100), (1, 0.2, 0, 0, 100, 95), (1, 0.3, 0, 0, 100, 70))
    assert leaders(seen) == [0, 1, 0]


def test_a_box_joins_the_nearest_leader_that_has_none_of_its_service():
    near, far = (0, 0.8, 0, 0, 100, 100), (0, 0.9, 0, 0, 100, 80)
    seen = sightings(near, far, (1, 0.5, 0, 0, 100, 95), (1, 0.4, 0, 0, 100, 99))
    assert leaders(seen) == [0, 1, 0, 1]


def test_nobody_joins_one_that_joined():
    chain = [(n, 0.9 - n / 5, 20 * n, 0, 100 + 20 * n, 100) for n in range(3)]
    assert leaders(sightings(*chain)) == [0, 0, 2]


@pytest.mark.parametrize(("bottom", "joined"), [(64.9, False), (65.0, True)])
def test_a_box_belongs_to_another_from_an_iou_of_065(bottom, joined):
    seen = sightings((0, 0.9, 0, 0, 100, 100), (1, 0.9, 0, 0, 100, bottom))
    assert (leaders(seen) == [0, 0]) is joined


def test_equal_chances_are_ordered_by_service_then_by_place():
    seen = sightings((1, 0.5, 0, 0, 10, 10), (0, 0.5, 1, 0, 11, 10), (0, 0.5, 0, 0, 10, 10))
    alike = replace(weights(), right=np.zeros(SERVICES))
    chance = fusing.chances(seen, alike)
    found = fusing.clusters(seen, chance)
    assert found.leader.tolist() == [2, 1]
    assert found.cluster.tolist() == [0, 1, 0]


def test_corners_are_a_mean_by_how_well_who_is_how_sure_places_boxes():
    seen = sightings((0, 0.9, 0, 0, 100, 100), (2, 0.6, 10, 4, 110, 100))
    first, second = exp(0 + 0.5 * log(0.9 / 0.1)), exp(-1 + 0.5 * log(0.6 / 0.4))
    share = second / (first + second)
    found = placed(seen)
    assert found.share == pytest.approx([1 - share, share], abs=1e-12)
    assert found.corners[0] == pytest.approx([10 * share, 4 * share, 100 + 10 * share, 100], abs=1e-9)


def test_a_box_counts_by_its_iou_with_the_surest():
    seen = sightings((0, 0.9, 0, 0, 100, 100), (1, 0.8, 0, 0, 100, 80))
    found, alone = placed(seen), fusing.chances(seen, weights())
    assert found.iou == pytest.approx([1, 0.8])
    assert found.chance == pytest.approx([alone[0], alone[1] * 0.8**2])


def test_a_box_alone_keeps_its_very_corners():
    own = (0.1, 0.7, 33.3, 1e9 / 3)
    found = placed(sightings((0, 0.5, *own)))
    assert found.corners.tolist() == [list(own)]
    assert found.iou.tolist() == [1.0]


def test_of_two_rivals_the_one_with_less_for_it_is_the_weaker():
    one, other = (0, 0, 100, 100), (50, 0, 150, 100)  # IoU 1/3
    seen = sightings((0, 0.8, *one), (0, 0.7, *other), (1, 0.7, *other), (2, 0.7, *other))
    assert placed(seen).overlap.tolist() == [1 / 3, 0]


@pytest.mark.parametrize("crowded", [-1, fusing.CROWDED])
@pytest.mark.parametrize(("bottom", "overlap"), [(29.99, 0), (30.0, 0.3), (30.1, 0.301)])
def test_a_box_is_a_rival_from_an_iou_of_03(monkeypatch, crowded, bottom, overlap):
    monkeypatch.setattr(fusing, "CROWDED", crowded)
    found = placed(sightings((0, 0.9, 0, 0, 100, 100), (1, 0.5, 0, 0, 100, bottom)))
    assert found.overlap.tolist() == [0, pytest.approx(overlap)]
    assert found.rivalled.tolist() == [bool(overlap)] * 2


def test_a_rival_of_the_same_service_is_no_other_opinion():
    own = sightings((0, 0.9, 0, 0, 100, 100), (0, 0.5, 0, 0, 100, 50))
    assert (placed(own).overlap.tolist(), placed(own).rivalled.any()) == ([0, 0.5], False)


def test_a_lone_box_without_area_keeps_its_chance():
    seen = sightings((0, 0.5, 5, 5, 5, 5), (1, 0.5, 7, 0, 7, 9))
    assert placed(seen).chance == pytest.approx(fusing.chances(seen, weights()))


def test_only_who_knows_the_class_and_is_not_there_is_silent():
    seen = sightings((0, 0.8, 0, 0, 10, 10, 0), (0, 0.7, 0, 0, 10, 10, 1), (2, 0.6, 0, 0, 10, 10, 0))
    knows = np.array([[1, 0], [1, 1], [1, 0]], bool)
    found = placed(seen).clusters
    assert fusing.silence(seen, found, knows, weights()) == pytest.approx([-0.35, -0.35])
    assert fusing.silence(seen, found, np.array([[1, 1], [0, 1], [0, 1]], bool), weights()) == pytest.approx(
        [0, -0.35 - 0.1]
    )


def test_nothing_seen_makes_nothing():
    assert scores(sightings()).tolist() == []


PLACED = st.integers(0, 20).map(lambda n: n * 2.125)
SIZED = st.integers(0, 20).map(lambda n: 60 + n * 2.125)
ROWS = st.tuples(st.integers(0, 2), st.integers(0, 20), PLACED, PLACED, SIZED, SIZED, st.integers(0, 1))
DRAWN = st.lists(ROWS, max_size=14).map(
    lambda rows: sightings(*[(n, c / 20, x, y, x + w, y + h, g) for n, c, x, y, w, h, g in rows])
)
few = settings(max_examples=25, deadline=None)


@few
@given(DRAWN, st.sampled_from([0.5, 2.0, 1024.0]))
def test_photos_of_another_size_are_merged_alike(seen, factor):
    before, scaled = placed(seen), replace(seen, corners=seen.corners * factor)
    assert placed(scaled).corners.tolist() == (before.corners * factor).tolist()
    assert scores(scaled).tolist() == scores(seen).tolist()


@few
@given(DRAWN, st.sampled_from([-512.0, 0.125, 4096.0]))
def test_boxes_elsewhere_are_merged_alike(seen, shift):
    before, shifted = placed(seen), replace(seen, corners=seen.corners + shift)
    assert placed(shifted).clusters.cluster.tolist() == before.clusters.cluster.tolist()
    assert placed(shifted).corners == pytest.approx(before.corners + shift, abs=1e-6)
    assert scores(shifted) == pytest.approx(scores(seen), abs=1e-6)


@few
@given(DRAWN)
def test_crowds_are_merged_as_few_boxes_are(seen):
    expected = placed(seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusing, "CROWDED", -1)
        found = placed(seen)
    assert found.clusters.cluster.tolist() == expected.clusters.cluster.tolist()
    assert found.clusters.leader.tolist() == expected.clusters.leader.tolist()
    assert found.overlap.tolist() == expected.overlap.tolist()
    assert found.rivalled.tolist() == expected.rivalled.tolist()


@few
@given(DRAWN)
def test_clusters_are_what_taking_the_boxes_one_by_one_gives(seen):
    chance = fusing.chances(seen, weights())
    order = np.lexsort((*seen.corners.T, seen.group, seen.service, -chance)).tolist()
    leads = {}
    for box in order:
        free = [
            (-iou(seen.corners[[box]], seen.corners[[leader]])[0], place, leader)
            for place, leader in enumerate(order)
            if leads.get(leader) == leader
            and seen.group[leader] == seen.group[box]
            and seen.service[box] not in {seen.service[one] for one in leads if leads[one] == leader}
        ]
        overlap, _, leader = min(free, default=(0, 0, box))
        leads[box] = leader if -overlap >= fusing.SAME_OBJECT else box
    assert leaders(seen) == [leads[box] for box in range(len(order))]


@few
@given(DRAWN, st.integers(1, 19))
def test_one_more_word_for_the_very_box_raises_it(seen, confidence):
    """Who agrees on a place, less sure than its surest, moves nothing there."""
    by, before = weights(SERVICES + 1), placed(seen, weights(SERVICES + 1))
    assume(len(before.corners))
    corners, group = before.corners[0], seen.group[before.clusters.leader[0]]
    word = sightings((SERVICES, confidence / 20, *corners, group))
    both = Sightings(
        *(
            np.concatenate([getattr(seen, n), getattr(word, n)])
            for n in ("corners", "logit", "service", "group")
        )
    )
    after = placed(both, by)
    assume(after.clusters.leader[0] == before.clusters.leader[0] and after.clusters.cluster[-1] == 0)
    assert after.corners[0] == pytest.approx(corners, abs=1e-6)
    assert after.log_odds[0] > before.log_odds[0] - 1e-9
    assert scores(both, by)[0] >= scores(seen, by)[0] - 1e-9


SIDES = st.sampled_from([0.0, 1e-300, 1e-9, 1.0, 1e9])
PLACES = st.sampled_from([0.0, -1e9, -3.0, 5.0, 1e9])


@few
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0, 0.5, 1]), PLACES, PLACES, SIDES, SIDES), max_size=12
    )
)
def test_empty_huge_and_certain_boxes_have_numbers_too(rows):
    seen = sightings(*[(s, c, x, y, x + w, y + h) for s, c, x, y, w, h in rows])
    found = placed(seen)
    assert np.isfinite(found.corners).all()
    assert np.isfinite(found.log_odds).all()
    assert ((scores(seen) >= 0) & (scores(seen) <= 1)).all()


def test_thousands_of_rivals_are_never_all_kept():
    """Three services draw 800 boxes each around places of their own that overlap: 2.9 million pairs."""
    service, random = np.repeat(np.arange(3), 800), np.random.default_rng(0)
    places = np.array([(0, 0, 100, 100), (28, 0, 128, 100), (0, 28, 100, 128)], float)[service]
    seen = Sightings(places, fusing.logit(random.random(2400)), service, np.zeros(2400, int))
    tracemalloc.start()
    try:
        found = placed(seen)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(found.corners), found.rivalled.all()) == (2400, True)
    assert most < 100e6


def test_thousands_of_boxes_on_one_spot_take_less_than_a_moment():
    random = np.random.default_rng(0)
    rows = [(n % 3, c, 0, 0, 100, 100) for n, c in enumerate(random.random(3000).round(2).tolist())]
    found = placed(sightings(*rows))
    assert sorted(np.bincount(found.clusters.cluster).tolist()) == [3] * 1000
