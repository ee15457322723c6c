"""What every broker promises: the same tests for all of them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from windmill.core import wire
from windmill.core.reach import Reach
from windmill.memory import MemoryBroker
from windmill.model import Ack, Again, Dispatch, Image, Job, QueueState, Settlement

SOON = 60.0  # seconds; nothing takes that long unless it never comes
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


def eventually(condition, patience=SOON):
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        threading.Event().wait(0.02)
    return found


def test_one_publish_reaches_each_service_once(broker, service):
    services = [f"{service}_{letter}" for letter in "abc"]
    broker.publish([dispatch(1, *services), dispatch(2, services[0])])
    for name, expected in zip(services, ([1, 2], [1], [1]), strict=True):
        consumer = broker.consumer(name, Reach(10, fixed=True))
        taken = take(consumer, len(expected))
        assert numbers(taken) == expected
        assert {(one.service, one.attempt, one.redelivered) for one in taken} == {(name, 0, False)}
        assert consumer.take(10, QUIET) == []


def test_the_body_is_what_the_wire_format_says(broker, service):
    broker.publish([dispatch(7, service)])
    (delivery,) = take(broker.consumer(service, Reach(1, fixed=True)), 1)
    assert delivery.body == wire.encode(job(7))


def test_a_service_named_twice_gets_one_job(broker, service):
    broker.publish([dispatch(1, service, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    take(consumer, 1)
    assert consumer.take(10, QUIET) == []


def test_publishing_nothing_is_nothing(broker, service):
    broker.publish([])
    broker.publish([Dispatch(job=job(1), services=())])


def test_a_thousand_in_one_call(broker, service):
    broker.publish([dispatch(number, service) for number in range(1000)])
    assert eventually(lambda: broker.queue_states([service])[service].waiting == 1000)
    consumer = broker.consumer(service, Reach(100, fixed=True))
    found = []
    while len(found) < 1000:
        taken = consumer.take(100, SOON)
        found += numbers(taken)
        consumer.settle(settled(taken))
    assert found == list(range(1000))


def test_take_gives_no_more_than_its_limit(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    assert 1 <= len(consumer.take(3, SOON)) <= 3


def test_no_more_than_its_prefetch_is_in_hand(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    consumer = broker.consumer(service, Reach(2, fixed=True))
    taken = take(consumer, 2)
    assert consumer.take(10, QUIET) == []
    consumer.settle(settled(taken[:1]))
    assert numbers(consumer.take(10, SOON)) == [2]


def test_take_comes_back_when_its_time_is_up(broker, service):
    consumer = broker.consumer(service, Reach(10, fixed=True))
    consumer.take(1, QUIET)
    start = time.monotonic()
    assert consumer.take(1, QUIET) == []
    assert QUIET * 0.9 <= time.monotonic() - start < QUIET + 2


def test_take_wakes_for_a_job_that_comes_later(broker, service):
    consumer = broker.consumer(service, Reach(10, fixed=True))
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take, consumer, 1)
        broker.publish([dispatch(1, service)])
        assert numbers(taking.result(SOON)) == [1]


def test_a_queue_exists_from_its_first_use(broker, service):
    assert broker.queue_states([service]) == {service: QueueState()}
    broker.publish([dispatch(1, service)])
    assert eventually(lambda: broker.queue_states([service]) == {service: QueueState(waiting=1)})


def test_a_queue_tells_what_waits_what_is_delayed_and_who_consumes(broker, service):
    def state():
        return broker.queue_states([service, f"{service}_other"])

    broker.publish([dispatch(number, service) for number in range(5)])
    with closing(broker.consumer(service, Reach(2, fixed=True))) as consumer:
        first, _ = take(consumer, 2)
        consumer.settle(settled([first], Again(delay=60, attempt=1)))
        take(consumer, 1)
        expected = QueueState(waiting=2, delayed=1, consumers=1)
        assert eventually(lambda: state() == {service: expected, f"{service}_other": QueueState()})
        with closing(broker.consumer(service, Reach(1, fixed=True))) as another:
            held = take(another, 1)
            assert eventually(lambda: state()[service].consumers == 2)
            another.pause()
            another.settle(settled(held))
            assert eventually(lambda: state()[service].consumers == 1)
    assert eventually(lambda: state()[service] == QueueState(waiting=3, delayed=1))


def test_depth_counts_what_waits(broker, service):
    broker.publish([dispatch(number, service) for number in range(4)])
    consumer = broker.consumer(service, Reach(1, fixed=True))
    assert eventually(lambda: consumer.depth() >= 3)  # one of them may be on its way to us
    consumer.settle(settled(take(consumer, 1)))
    assert eventually(lambda: consumer.depth() in (2, 3))


def test_acked_is_gone(broker, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        consumer.settle(settled(take(consumer, 2)))
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        assert another.take(10, QUIET) == []
    assert eventually(lambda: broker.queue_states([service]) == {service: QueueState()})


def test_what_is_not_settled_comes_back_after_close(broker, service):
    broker.publish([dispatch(number, service) for number in range(4)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = take(consumer, 4)
        consumer.settle(settled([taken[0], taken[2]]))
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        again = take(another, 2)
        assert sorted(numbers(again)) == [1, 3]
        assert all(one.redelivered and one.attempt == 0 for one in again)


def test_what_nobody_took_comes_back_as_if_it_had_never_left(broker, service):
    broker.publish([dispatch(number, service) for number in range(5)])
    for _ in range(6):  # more often than a message may be delivered and not settled
        with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
            consumer.settle([])
            (one,) = take(consumer, 1)
            broker.publish([dispatch(wire.decode(one.body).image.image_id, service)])
            consumer.settle(settled([one]))
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = take(consumer, 5)
        assert sorted(numbers(taken)) == [0, 1, 2, 3, 4]
        assert not any(one.redelivered for one in taken)


def test_again_comes_after_its_delay_with_its_attempt(broker, service):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
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
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        consumer.settle(settled(take(consumer, 1), Again(delay=1, attempt=3)))
        take(consumer, 1)
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        assert take(another, 1)[0].attempt == 3


def test_again_waits_as_long_as_it_says_and_not_for_the_next_step(broker, service):
    for name in (service, f"{service}_2", f"{service}_3"):  # a busy machine is late, but not three times
        came = _again_after(broker, name, {1: 0.2, 2: 0, 3: 1.5})
        assert [attempt for attempt, _ in came] == [2, 1, 3]
        at_once, soon, later = (seconds for _, seconds in came)
        assert soon >= 0.15
        assert later >= 1.4
        if at_once < 0.5 and soon < 0.9 and later < 3:
            return
    pytest.fail(f"too late: {came}")


def _again_after(broker, service, delays):
    """Attempts as they come again, each with its seconds since jobs were settled with these delays."""
    broker.publish([dispatch(number, service) for number in delays])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = take(consumer, len(delays))
        start = time.monotonic()
        consumer.settle(
            [
                Settlement(delivery=one, decision=Again(delay=delay, attempt=attempt))
                for one, (attempt, delay) in zip(taken, delays.items(), strict=True)
            ]
        )
        return [(take(consumer, 1)[0].attempt, time.monotonic() - start) for _ in delays]


def test_what_was_redelivered_once_stays_so(broker, service):
    broker.publish([dispatch(1, service)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        take(consumer, 1)
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        consumer.settle(settled(take(consumer, 1), Again(delay=0.1, attempt=1)))
        assert take(consumer, 1)[0].redelivered


def test_what_failed_and_was_never_given_back_is_not_redelivered(broker, service):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    consumer.settle(settled(take(consumer, 1), Again(delay=0.1, attempt=1)))
    assert not take(consumer, 1)[0].redelivered


def test_a_doubtful_message_is_delivered_as_redelivered(broker, service):
    broker.publish([dispatch(1, service)], doubtful=True)
    for _ in range(2):  # also when it went back without anyone having taken it
        with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
            eventually(lambda: broker.queue_states([service])[service].consumers or consumer.take(0, 0.1))
    (delivery,) = take(broker.consumer(service, Reach(10, fixed=True)), 1)
    assert (delivery.redelivered, delivery.undeliverable) == (True, False)


def killed(broker, service, *images):
    """Jobs of `service` that four workers had in hand and did not settle."""
    broker.publish([dispatch(image, service, f"{service}_other") for image in images or (1,)])
    for _ in range(4):
        with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
            (delivery, *_) = take(consumer, len(images) or 1)
            assert not consumer.suspects()
    return delivery


def suspect(consumer):
    eventually(consumer.suspects)
    return eventually(consumer.take_suspect)


def test_a_job_that_kills_its_workers_is_tried_alone_and_then_undeliverable_until_it_is_acked(
    broker, service
):
    delivery = killed(broker, service)
    for undeliverable in (False, False, True, True):
        with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
            assert consumer.take(1, QUIET) == []
            last = suspect(consumer)
            assert (last.body, last.undeliverable, last.redelivered) == (delivery.body, undeliverable, True)
            assert consumer.take_suspect() is None
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        consumer.settle(settled([suspect(consumer)]))
        assert consumer.take_suspect() is None
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        assert consumer.take(1, QUIET) == []
        assert not consumer.suspects()
    assert numbers(take(broker.consumer(f"{service}_other", Reach(1, fixed=True)), 1)) == [1]


def test_suspects_are_taken_one_by_one_also_during_a_pause(broker, service):
    killed(broker, service, 1, 2, 3)
    broker.publish([dispatch(4, service)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        assert numbers(take(consumer, 1)) == [4]
        eventually(consumer.suspects)
        consumer.pause()
        found = []
        for _ in range(3):
            one = consumer.take_suspect()
            found += numbers([one])
            consumer.settle(settled([one]))
        assert sorted(found) == [1, 2, 3]
        assert consumer.take_suspect() is None


def test_a_suspect_that_is_sent_on_is_a_job_like_others_again(broker, service):
    killed(broker, service)
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        consumer.settle(settled([suspect(consumer)], Again(delay=0.1, attempt=0)))
        (again,) = take(consumer, 1)
        assert (again.undeliverable, again.redelivered) == (False, True)


def test_a_census_sees_every_message_and_changes_none(broker, service):
    killed(broker, service)
    broker.publish([dispatch(number, service) for number in range(2, 6)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = {numbers([one])[0]: one for one in take(consumer, 4)}
        start = time.monotonic()
        consumer.settle(settled([taken[5]], Again(delay=2, attempt=2)))
        consumer.settle(settled([taken[4]], Again(delay=60, attempt=2)))
    for _ in range(5):
        bodies = list(broker.census(service))
        assert sorted(wire.decode(body).image.image_id for body in bodies) == [1, 2, 3, 4, 5]
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        assert numbers([suspect(consumer)]) == [1]
        found = {numbers([one])[0]: one for one in take(consumer, 3)}
        assert 1.9 < time.monotonic() - start < 6
    assert {*found} == {2, 3, 5}
    assert found[5].attempt == 2
    assert eventually(lambda: broker.queue_states([service])[service] == QueueState(waiting=4, delayed=1))


def test_a_census_of_many_and_of_none(broker, service):
    assert list(broker.census(service)) == []
    broker.publish([dispatch(number, service) for number in range(1000)])
    assert sorted(wire.decode(body).image.image_id for body in broker.census(service)) == [*range(1000)]
    with closing(broker.consumer(service, Reach(100, fixed=True))) as consumer:
        taken = take(consumer, 100)
        assert not any(one.redelivered for one in taken)


def test_a_census_that_is_not_read_to_its_end_loses_nothing(broker, service):
    broker.publish([dispatch(number, service) for number in range(900)])
    for _ in range(5):
        census = broker.census(service)
        next(census)
        if hasattr(census, "close"):
            census.close()
    with closing(broker.consumer(service, Reach(1000, fixed=True))) as consumer:
        taken = take(consumer, 900)
        assert sorted(numbers(taken)) == [*range(900)]
        assert not any(one.redelivered for one in taken)


def test_a_census_while_workers_consume_takes_nothing_from_them(broker, service):
    broker.publish([dispatch(number, service) for number in range(1000)])
    with closing(broker.consumer(service, Reach(20, fixed=True))) as consumer, ThreadPoolExecutor(1) as pool:
        first = take(consumer, 1)
        counting = pool.submit(lambda: [*broker.census(service), *broker.census(service)])
        found = numbers(first)
        consumer.settle(settled(first))
        while len(found) < 1000:
            taken = consumer.take(20, SOON)
            assert taken
            found += numbers(taken)
            consumer.settle(settled(taken))
        bodies = counting.result(SOON)
        assert consumer.take(1, QUIET) == []
    assert sorted(found) == [*range(1000)]
    assert {wire.decode(body).image.image_id for body in bodies} <= {*range(1000)}


def test_many_threads_take_and_settle(broker, service):
    broker.publish([dispatch(number, service) for number in range(400)])
    consumer = broker.consumer(service, Reach(40, fixed=True))
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
    assert eventually(lambda: broker.queue_states([service]) == {service: QueueState()})


def test_many_threads_publish(broker, service):
    with ThreadPoolExecutor(8) as pool:
        batches = [[dispatch(10 * batch + i, service) for i in range(10)] for batch in range(30)]
        list(pool.map(broker.publish, batches))
    taken = take(broker.consumer(service, Reach(300, fixed=True)), 300)
    assert sorted(numbers(taken)) == list(range(300))


@pytest.mark.parametrize("decision", [Ack(), Again(delay=1, attempt=1)], ids=repr)
def test_settling_what_went_back_does_nothing(broker, service, decision):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    taken = take(consumer, 1)
    consumer.close()
    consumer.settle(settled(taken, decision))
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        assert numbers(take(another, 1)) == [1]
        assert another.take(1, QUIET) == []


def test_settling_twice_is_settling_once(broker, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    taken = take(consumer, 2)
    consumer.settle(settled(taken))
    consumer.settle(settled(taken))
    broker.publish([dispatch(3, service)])
    assert numbers(take(consumer, 1)) == [3]


def test_paused_takes_nothing_and_settles_what_is_in_hand(broker, service):
    broker.publish([dispatch(number, service) for number in range(3)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = take(consumer, 1)
        consumer.pause()
        assert consumer.take(10, QUIET) == []
        consumer.settle(settled(taken))
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        assert sorted(numbers(take(another, 2))) == [1, 2]
        assert another.take(1, QUIET) == []


def test_resumed_takes_again_and_settles_what_was_in_hand_before(broker, service):
    broker.publish([dispatch(number, service) for number in range(3)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        first = take(consumer, 1)
        for _ in range(5):  # more often than a message may be delivered and not settled
            consumer.pause()
            consumer.pause()
            consumer.resume()
            consumer.resume()
            consumer.take(0, 0.1)
        rest = take(consumer, 2)
        assert not any(one.redelivered for one in rest)
        consumer.settle(settled([*first, *rest]))
    assert sorted(numbers([*first, *rest])) == [0, 1, 2]
    with closing(broker.consumer(service, Reach(10, fixed=True))) as another:
        assert another.take(1, QUIET) == []


def test_what_a_paused_consumer_had_not_taken_is_for_others(broker, service):
    broker.publish([dispatch(number, service) for number in range(3)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        first = take(consumer, 1)
        another = broker.consumer(service, Reach(10, fixed=True))
        consumer.pause()
        assert sorted(numbers([*first, *take(another, 2)])) == [0, 1, 2]


def test_paused_waits_and_wakes_when_it_is_resumed(broker, service):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    consumer.pause()
    start = time.monotonic()
    assert consumer.take(1, QUIET) == []
    assert time.monotonic() - start >= QUIET * 0.9
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(consumer.take, 1, 60)
        consumer.resume()
        assert numbers(taking.result(SOON)) == [1]


def test_closed_is_closed_for_good(broker, service):
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(10, fixed=True))
    consumer.close()
    consumer.resume()
    assert consumer.take(1, QUIET) == []


def test_pausing_wakes_whoever_waits(broker, service):
    consumer = broker.consumer(service, Reach(10, fixed=True))
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(consumer.take, 1, 60)
        consumer.pause()
        assert taking.result(SOON) == []


def test_closing_twice_is_closing_once(brokers, service):
    broker = brokers.connect()
    consumer = broker.consumer(service, Reach(10, fixed=True))
    consumer.take(1, QUIET)
    consumer.close()
    consumer.close()
    broker.close()
    broker.close()


def test_the_memory_broker_goes_by_the_clock_that_it_is_given(service):
    now = 0.0
    broker = MemoryBroker(clock=lambda: now)
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(1, fixed=True))
    consumer.settle(settled(take(consumer, 1), Again(delay=600, attempt=1)))
    assert consumer.take(1, 0.05) == []
    now = 600.0
    assert take(consumer, 1)[0].attempt == 1
