"""How far a worker reaches ahead: as far as it is fast, and back at once when it is not."""

import pytest

from windmill.core.reach import Reach

SECOND = [n / 10 for n in range(1, 11)]


def after(reach, rate, start=0.0, seconds=3):
    """The size after so many seconds at `rate` jobs a second."""
    for second in range(seconds):
        for part in SECOND:
            reach.note(round(rate / 10), start + second + part)
    return reach.size


@pytest.mark.parametrize(("rate", "size"), [(0, 16), (10, 16), (100, 16), (300, 60), (5000, 116)])
def test_it_holds_a_fifth_of_a_second_s_work(rate, size):
    assert after(Reach(16), rate) == size


def test_it_is_short_again_once_nothing_is_settled():
    reach = Reach(16)
    assert after(reach, 5000) == 116
    reach.note(0, 3.6)
    reach.note(0, 4.2)
    assert reach.size == 16


def test_a_rate_that_wavers_changes_nothing():
    reach = Reach(16)
    size = after(reach, 400)
    assert after(reach, 500, start=3) == after(reach, 300, start=6) == size


def test_what_a_person_has_set_is_kept():
    assert after(Reach(16, fixed=True), 5000) == 16


def test_one_job_at_a_time_is_one_again():
    reach = Reach(1)
    for settled, now, size in ((0, 0.0, 1), (8, 0.5, 3), (0, 1.0, 1)):
        reach.note(settled, now)
        assert reach.size == size


def test_it_goes_no_further_than_it_may():
    assert after(Reach(4, more=12), 5000) == 16


def test_who_settles_many_at_once_is_not_slow_in_between():
    """Sixty a second, settled once in ten seconds, as an index worker does it."""
    reach = Reach(32, ahead=10.0, more=1000, silence=30.0)
    for moment in range(31):
        reach.note(600 if moment and moment % 10 == 0 else 0, float(moment))
    assert reach.size == 600
    reach.note(0, 45.0)
    assert reach.size == 600
    reach.note(0, 61.0)
    assert reach.size == 32
