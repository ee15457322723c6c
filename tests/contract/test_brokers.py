"""What every broker promises: the same tests for all of them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from windmill.core import wire
from windmill.memory import MemoryBroker
from windmill.model import Ack, Again, Bury, Dispatch, Image, Job, Settlement

SOON = 10.0  # seconds; nothing takes that long unless it never comes
QUIET = 0.3  # seconds in which nothing comes


def job(number):
    return Job(image=Image(image_id=number, path=f"/photos/{number}.jpg"))


def dispatch(number, *services):
    return Dispatch(job=job(number), services=services)


def numbers(deliveries):
    return [wire.decode(delivery.body).image.image_id for delivery in deliveries]


def settled(deliveries, decision=None):
    return [Settlement(delivery=one, decision=decision or Ack()) for one in deliveries]


def take(consumer, count):
    """Exactly `count` deliveries."""
    taken = []
    while len(taken) < count:
        fresh = consumer.take(count - len(taken), SOON)
        assert fresh, f"{len(taken)} of {count} came"
        taken += fresh
    return taken


def eventually(condition):
    deadline = time.monotonic() + SOON
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.02)
    return found


def test_one_publish_reaches_each_service_once(broker, service):
    services = [f"{service}_{letter}" for letter in "abc"]
    broker.publish([dispatch(1, *services), dispatch(2, services[0])])
    for name, expected in zip(services, ([1, 2], [1], [1]), strict=True):
        consumer = broker.consumer(name, prefetch=10)
        taken = take(consumer, len(expected))
        assert numbers(taken) == expected
        assert {(one.service, one.attempt, one.redelivered) for one in taken} == {(name, 0, False)}
        assert consumer.take(10, QUIET) == []


def test_the_body_is_what_the_wire_format_says(broker, service):
    broker.publish([dispatch(7, service)])
    (delivery,) = take(broker.consumer(service, prefetch=1), 1)
    assert delivery.body == wire.encode(job(7))


def test_a_service_named_twice_gets_one_job(broker, service):
    broker.publish([dispatch(1, service, service)])
    consumer = broker.consumer(service, prefetch=10)
    take(consumer, 1)
    assert consumer.take(10, QUIET) == []


def test_publishing_nothing_is_nothing(broker, service):
    broker.publish([])
    broker.publish([Dispatch(job=job(1), services=())])


def test_a_thousand_in_one_call(broker, service):
    broker.publish([dispatch(number, service) for number in range(1000)])
    assert eventually(lambda: broker.queue_depths([service])[service] == 1000)
    consumer = broker.consumer(service, prefetch=100)
    found = []
    while len(found) < 1000:
        taken = consumer.take(100, SOON)
        found += numbers(taken)
        consumer.settle(settled(taken))
    assert found == list(range(1000))


def test_take_gives_no_more_than_its_limit(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    consumer = broker.consumer(service, prefetch=10)
    assert 1 <= len(consumer.take(3, SOON)) <= 3


def test_no_more_than_its_prefetch_is_in_hand(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    consumer = broker.consumer(service, prefetch=2)
    taken = take(consumer, 2)
    assert consumer.take(10, QUIET) == []
    consumer.settle(settled(taken[:1]))
    assert numbers(consumer.take(10, SOON)) == [2]


def test_take_comes_back_when_its_time_is_up(broker, service):
    consumer = broker.consumer(service, prefetch=10)
    consumer.take(1, QUIET)
    start = time.monotonic()
    assert consumer.take(1, QUIET) == []
    assert QUIET * 0.9 <= time.monotonic() - start < QUIET + 2


def test_take_wakes_for_a_job_that_comes_later(broker, service):
    consumer = broker.consumer(service, prefetch=10)
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take, consumer, 1)
        broker.publish([dispatch(1, service)])
        assert numbers(taking.result(SOON)) == [1]


def test_a_queue_exists_from_its_first_use(broker, service):
    assert broker.queue_depths([service]) == {service: 0}
    broker.publish([dispatch(1, service)])
    assert eventually(lambda: broker.queue_depths([service]) == {service: 1})


def test_depth_counts_what_waits(broker, service):
    broker.publish([dispatch(number, service) for number in range(4)])
    consumer = broker.consumer(service, prefetch=1)
    assert eventually(lambda: consumer.depth() >= 3)  # one of them may be on its way to us
    consumer.settle(settled(take(consumer, 1)))
    assert eventually(lambda: consumer.depth() in (2, 3))


def test_acked_is_gone(broker, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        consumer.settle(settled(take(consumer, 2)))
    with closing(broker.consumer(service, prefetch=10)) as another:
        assert another.take(10, QUIET) == []
    assert broker.queue_depths([service]) == {service: 0}


def test_what_is_not_settled_comes_back_after_close(broker, service):
    broker.publish([dispatch(number, service) for number in range(4)])
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        taken = take(consumer, 4)
        consumer.settle(settled([taken[0], taken[2]]))
    with closing(broker.consumer(service, prefetch=10)) as another:
        again = take(another, 2)
        assert sorted(numbers(again)) == [1, 3]
        assert all(one.redelivered and one.attempt == 0 for one in again)


def test_what_nobody_took_comes_back_as_if_it_had_never_left(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    for _ in range(6):  # more often than a message may be delivered and not settled
        with closing(broker.consumer(service, prefetch=10)) as consumer:
            consumer.settle([])
            (one,) = take(consumer, 1)
            broker.publish([dispatch(wire.decode(one.body).image.image_id, service)])
            consumer.settle(settled([one]))
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        taken = take(consumer, 5)
        assert sorted(numbers(taken)) == [0, 1, 2, 3, 4]
        assert not any(one.redelivered for one in taken)


def test_again_comes_after_its_delay_with_its_attempt(broker, service):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, prefetch=10)
    taken = take(consumer, 1)
    start = time.monotonic()
    consumer.settle(settled(taken, Again(delay=1, attempt=1)))
    (again,) = take(consumer, 1)
    assert 0.9 <= time.monotonic() - start < 5
    assert (again.attempt, again.body) == (1, taken[0].body)
    consumer.settle(settled([again], Again(delay=1, attempt=2)))
    assert take(consumer, 1)[0].attempt == 2


def test_the_attempt_survives_a_close(broker, service):
    broker.publish([dispatch(1, service)])
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        consumer.settle(settled(take(consumer, 1), Again(delay=1, attempt=3)))
        take(consumer, 1)
    with closing(broker.consumer(service, prefetch=10)) as another:
        assert take(another, 1)[0].attempt == 3


def test_buried_lies_in_the_dead_store_with_its_reason(broker, brokers, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        first, second = take(consumer, 2)
        bury = Bury(error="ImageError", reason="gone: /photos/1.jpg ☂ " + "x" * 9)
        consumer.settle([*settled([first], bury), *settled([second])])
    (dead,) = brokers.dead(service)
    assert (dead.body, dead.error, dead.reason) == (first.body, bury.error, bury.reason)
    with closing(broker.consumer(service, prefetch=10)) as another:
        assert another.take(10, QUIET) == []


def test_a_job_that_kills_its_workers_ends_in_the_dead_store(broker, brokers, service):
    broker.publish([dispatch(1, service, f"{service}_other")])
    for _ in range(4):
        with closing(broker.consumer(service, prefetch=10)) as consumer:
            (delivery,) = take(consumer, 1)
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        assert consumer.take(1, QUIET) == []
    (dead,) = eventually(lambda: brokers.dead(service))
    assert dead.body == delivery.body
    assert numbers(take(broker.consumer(f"{service}_other", prefetch=1), 1)) == [1]


def test_many_threads_take_and_settle(broker, service):
    broker.publish([dispatch(number, service) for number in range(400)])
    consumer = broker.consumer(service, prefetch=40)
    found, lock = [], threading.Lock()

    def work():
        while taken := consumer.take(5, 1):
            with lock:
                found.extend(numbers(taken))
            retried = [one for one in taken if numbers([one])[0] % 100 == 0 and not one.attempt]
            acked = [one for one in taken if one not in retried]
            for one in acked:
                consumer.settle(settled([one]))
            consumer.settle(settled(retried, Again(delay=1, attempt=1)))

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work) for _ in range(8)]:
            future.result(60)
    while late := consumer.take(10, 2):
        found.extend(numbers(late))
        consumer.settle(settled(late))
    consumer.close()
    assert sorted(found) == sorted([*range(400), 0, 100, 200, 300])
    assert broker.queue_depths([service]) == {service: 0}


def test_many_threads_publish(broker, service):
    with ThreadPoolExecutor(8) as pool:
        batches = [[dispatch(10 * batch + i, service) for i in range(10)] for batch in range(30)]
        list(pool.map(broker.publish, batches))
    taken = take(broker.consumer(service, prefetch=300), 300)
    assert sorted(numbers(taken)) == list(range(300))


@pytest.mark.parametrize(
    "decision", [Ack(), Again(delay=1, attempt=1), Bury(error="E", reason="r")], ids=repr
)
def test_settling_what_went_back_does_nothing(broker, brokers, service, decision):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, prefetch=10)
    taken = take(consumer, 1)
    consumer.close()
    consumer.settle(settled(taken, decision))
    with closing(broker.consumer(service, prefetch=10)) as another:
        assert numbers(take(another, 1)) == [1]
        assert another.take(1, QUIET) == []
    assert not brokers.dead(service)


def test_settling_twice_is_settling_once(broker, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    consumer = broker.consumer(service, prefetch=10)
    taken = take(consumer, 2)
    consumer.settle(settled(taken))
    consumer.settle(settled(taken))
    broker.publish([dispatch(3, service)])
    assert numbers(take(consumer, 1)) == [3]


def test_paused_takes_nothing_and_settles_what_is_in_hand(broker, service):
    broker.publish([dispatch(number, service) for number in range(3)])
    with closing(broker.consumer(service, prefetch=10)) as consumer:
        taken = take(consumer, 1)
        consumer.pause()
        assert consumer.take(10, QUIET) == []
        consumer.settle(settled(taken))
    with closing(broker.consumer(service, prefetch=10)) as another:
        assert sorted(numbers(take(another, 2))) == [1, 2]
        assert another.take(1, QUIET) == []


def test_pausing_wakes_whoever_waits(broker, service):
    consumer = broker.consumer(service, prefetch=10)
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(consumer.take, 1, 60)
        consumer.pause()
        assert taking.result(SOON) == []


def test_closing_twice_is_closing_once(brokers, service):
    broker = brokers.connect()
    consumer = broker.consumer(service, prefetch=10)
    consumer.take(1, QUIET)
    consumer.close()
    consumer.close()
    broker.close()
    broker.close()


def test_the_memory_broker_goes_by_the_clock_that_it_is_given(service):
    now = 0.0
    broker = MemoryBroker(clock=lambda: now)
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, prefetch=1)
    consumer.settle(settled(take(consumer, 1), Again(delay=600, attempt=1)))
    assert consumer.take(1, 0.05) == []
    now = 600.0
    assert take(consumer, 1)[0].attempt == 1
