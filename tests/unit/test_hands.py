"""The threads that handle jobs: what they are given, when they want more, and how they end."""

import threading

import pytest

from windmill.hands import Hands
from windmill.model import Delivery

PATIENCE = 30.0  # seconds after which a test that waits for an event has failed


def deliveries(count):
    return [Delivery(service="blip", body=b"", token=n, attempt=0) for n in range(count)]


def test_all_that_is_given_is_handled_in_order():
    seen, done = [], threading.Event()

    def work(delivery):
        seen.append(delivery.token)
        if delivery.token == 9:
            done.set()

    hands = Hands(1, work, lambda: None)
    hands.give(deliveries(10))
    assert done.wait(PATIENCE)
    hands.close(wait=True)
    assert seen == list(range(10))


def test_they_want_no_more_than_they_soon_begin():
    begun, go_on = threading.Semaphore(0), threading.Event()

    def work(_):
        begun.release()
        go_on.wait(PATIENCE)

    hands = Hands(2, work, lambda: None)
    assert hands.room(100, 0) == 2
    hands.give(deliveries(4))
    assert all(begun.acquire(timeout=PATIENCE) for _ in range(2))
    assert hands.room(100, 0.001) == 0
    go_on.set()
    assert hands.room(100, PATIENCE) > 0
    hands.close(wait=True)


def test_what_none_has_begun_is_dropped_at_the_end():
    seen, begun, go_on = [], threading.Event(), threading.Event()

    def work(delivery):
        seen.append(delivery.token)
        begun.set()
        go_on.wait(PATIENCE)

    hands = Hands(1, work, lambda: None)
    hands.give(deliveries(3))
    assert begun.wait(PATIENCE)
    hands.close(wait=False)
    go_on.set()
    hands._pool.shutdown()
    assert seen == [0]


def test_what_work_raises_is_told_and_raised_at_the_end():
    failed = threading.Event()

    def work(_):
        raise ValueError("out of luck")

    hands = Hands(1, work, failed.set)
    hands.give(deliveries(1))
    assert failed.wait(PATIENCE)
    with pytest.raises(ValueError, match="out of luck"):
        hands.close(wait=True)


def test_without_threads_the_giver_works():
    seen = []
    hands = Hands(0, seen.append, lambda: None)
    assert hands.room(100, 0) == 100
    hands.give(deliveries(3))
    assert len(seen) == 3
    hands.close(wait=True)
