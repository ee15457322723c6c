"""What only a real RabbitMQ shows: restarts, lost connections, refusals."""

import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial

import pika
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.test_brokers import SOON, dispatch, eventually, numbers, settled, take
from tests.servers.base import free_port
from tests.servers.proxy import Proxy
from windmill import catalog, rabbitmq
from windmill.core.reach import Reach
from windmill.errors import BrokerError, ConfigError
from windmill.model import Again, QueueState
from windmill.rabbitmq import topology
from windmill.rabbitmq.subscription import acknowledgements
from windmill.settings import Settings

SECRET = "correct-horse-battery"


@pytest.fixture
def server(rabbitmq_server):
    """The session's server; whatever a test did to it, it runs afterwards."""
    yield rabbitmq_server
    if not rabbitmq_server.answers():
        rabbitmq_server.stop()
        rabbitmq_server.start()


@pytest.fixture
def settings(server):
    return Settings(queue_host=server.host, queue_port=server.port)


@pytest.fixture
def broker(settings):
    with closing(rabbitmq.connect(settings, "worker-1")) as connection:
        yield connection


@pytest.fixture
def service(request):
    return request.node.originalname.removeprefix("test_")


@pytest.fixture(scope="module")
def lasting(rabbitmq_server):
    """Services whose queues survive a power cut.

    RabbitMQ 3.10 forgets a quorum queue, and what lies in it, when it is killed within seconds of the
    queue's first declaration; a stop in good order has it remember.
    """
    services = [f"lasting{number}" for number in range(3)]
    settings = Settings(queue_host=rabbitmq_server.host, queue_port=rabbitmq_server.port)
    with closing(rabbitmq.connect(settings, "setup")) as broker:
        broker.publish([dispatch(0, *services)])
        for service in services:
            with closing(broker.consumer(service, Reach(1, fixed=True))) as consumer:
                consumer.settle(settled(take(consumer, 1)))
    rabbitmq_server.restart()
    return iter(services)


def kill(server):
    """A power cut: the start script and the machine that it started, at the same moment."""
    machines = psutil.Process(server.process.pid).children(recursive=True)
    server.kill()
    for process in machines:
        if process.is_running():
            process.kill()
    psutil.wait_procs(machines, SOON)


def all_of(consumer, expected):
    """Takes and acks until every number of `expected` has come; what came, duplicates included."""
    found = []
    deadline = time.monotonic() + 60
    while not expected <= set(found):
        assert time.monotonic() < deadline, f"missing: {sorted(expected - set(found))[:9]}"
        taken = consumer.take(50, 1)
        found += numbers(taken)
        consumer.settle(settled(taken))
    return found


@given(st.lists(st.integers(1, 99), unique=True).map(sorted), st.sets(st.integers(1, 99)))
def test_acks_say_what_is_settled_and_no_more(unsettled, done):
    upto, single = acknowledgements(unsettled, done)
    assert {tag for tag in unsettled if tag <= upto} | set(single) == done & set(unsettled)
    assert upto == 0 or upto not in single


@pytest.mark.parametrize("end", [lambda server: server.stop(), kill], ids=["stopped", "killed"])
def test_a_restart_in_the_middle_costs_nothing(lasting, server, broker, end, caplog):
    caplog.set_level(logging.INFO)
    service = next(lasting)
    broker.publish([dispatch(number, service) for number in range(50)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        taken = take(consumer, 10)
        consumer.settle(settled(taken[:5]))
        end(server)
        assert consumer.take(10, 0.2) == []
        with pytest.raises(BrokerError):
            consumer.depth()
        server.start()
        later = take(consumer, 10)  # by itself
        consumer.settle(settled(taken[5:]))  # tokens of the lost connection
        broker.publish([dispatch(50, service)])
        consumer.settle(settled(later))
        found = numbers(later) + all_of(consumer, set(range(5, 51)) - set(numbers(later)))
    assert set(range(5, 51)) <= set(found)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {record.name.split(".")[0] for record in caplog.records} <= {"windmill"}
    assert all("connecting again" in one.message or "trying until" in one.message for one in warnings)


def test_a_kill_while_publishing_raises_and_loses_nothing_confirmed(lasting, server, broker):
    service, confirmed, error = next(lasting), [], []

    def publish():
        for start in range(0, 10**6, 50):
            try:
                broker.publish([dispatch(number, service) for number in range(start, start + 50)])
            except BrokerError as exc:
                error.append(exc)
                return
            confirmed.extend(range(start, start + 50))

    thread = threading.Thread(target=publish)
    thread.start()
    eventually(lambda: len(confirmed) >= 500)
    kill(server)
    thread.join(60)
    assert error
    server.start()
    with closing(broker.consumer(service, Reach(100, fixed=True))) as consumer:
        all_of(consumer, set(confirmed))


def test_a_failed_job_is_settled_wholly_or_not_at_all(server, broker, service):
    broker.publish([dispatch(1, service), dispatch(2, service)])
    with closing(broker.consumer(service, Reach(10, fixed=True))) as consumer:
        first, _ = take(consumer, 2)
        server.stop()
        consumer.settle(settled([first], Again(delay=1, attempt=1)))  # of a lost connection: skipped
        server.start()
        again = take(consumer, 2)
        assert sorted(numbers(again)) == [1, 2]
        assert all(one.attempt == 0 and one.redelivered for one in again)
        consumer.settle(settled(again))
        assert consumer.take(1, 1.5) == []


def test_a_frozen_broker_is_a_broker_error(server, broker, service, monkeypatch):
    broker.publish([dispatch(1, service)])
    monkeypatch.setattr("windmill.rabbitmq.publishing.CONFIRM_TIMEOUT", 1.0)
    group = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    for process in group:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerError, match="did not confirm"):
            broker.publish([dispatch(2, service)])
    finally:
        for process in group:
            os.kill(process.pid, signal.SIGCONT)
    broker.publish([dispatch(3, service)])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"queue_password": SECRET}, "QUEUE_USER, QUEUE_PASSWORD"),
        ({"queue_user": "nobody", "queue_password": SECRET}, "QUEUE_USER, QUEUE_PASSWORD"),
        ({"queue_vhost": "elsewhere"}, "QUEUE_VHOST"),
        ({"queue_ssl": True, "queue_ssl_ca": "/nowhere/ca.pem"}, "QUEUE_SSL_CA"),
    ],
)
def test_what_is_set_wrongly_is_one_clear_error(server, change, key, caplog):
    settings = Settings(**{"queue_host": server.host, "queue_port": server.port, **change})
    with pytest.raises(ConfigError, match=key) as caught:
        rabbitmq.connect(settings, "worker-1")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caplog.records == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rabbitmq")]


def test_a_user_without_permission_is_a_config_error(server, service):
    server.add_user("reader", SECRET)
    server.permit("reader", ("^$", "^$", ".*"))
    settings = Settings(
        queue_host=server.host, queue_port=server.port, queue_user="reader", queue_password=SECRET
    )
    with closing(rabbitmq.connect(settings, "worker-1")) as broker:
        with pytest.raises(ConfigError, match="QUEUE_USER"):
            broker.publish([dispatch(1, service)])
        with pytest.raises(ConfigError, match="QUEUE_USER"):
            broker.consumer(service, 1).take(1, 1)


def test_a_server_that_is_down_is_one_line_and_then_waited_for(server, settings, service, caplog):
    server.stop()
    with closing(rabbitmq.connect(settings, "worker-1")) as broker:
        (record,) = warnings(caplog)
        assert f"{server.host}:{server.port}" in record.message
        assert "QUEUE_HOST" in record.message
        with pytest.raises(BrokerError):
            broker.queue_states([service])
        consumer = broker.consumer(service, Reach(1, fixed=True))
        with ThreadPoolExecutor(1) as pool:
            taking = pool.submit(consumer.take, 1, 60)
            server.start()
            broker.publish([dispatch(1, service)])
            assert numbers(taking.result(60)) == [1]
    assert len(warnings(caplog)) == 1


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_closing_while_the_server_is_down_is_quick(service):
    settings = Settings(queue_host="127.0.0.1", queue_port=free_port())
    broker = rabbitmq.connect(settings, "worker-1")
    broker.consumer(service, Reach(1, fixed=True)).take(1, 0.1)
    start = time.monotonic()
    broker.close()
    assert time.monotonic() - start < 5
    with pytest.raises(BrokerError, match=r"closed|no connection"):
        broker.publish([dispatch(1, service)])


def test_a_lost_password_after_a_good_start_is_waited_out(server, service):
    server.add_user("fickle", "before")
    server.permit("fickle")
    settings = Settings(
        queue_host=server.host, queue_port=server.port, queue_user="fickle", queue_password="before"
    )
    with closing(rabbitmq.connect(settings, "worker-1")) as broker:
        consumer = broker.consumer(service, Reach(1, fixed=True))
        consumer.take(1, 0.1)
        server.change_password("fickle", "after")
        server.cut()
        eventually(lambda: _fails(lambda: broker.queue_states([service])))
        server.change_password("fickle", "before")
        server.permit("fickle")
        broker.publish([dispatch(1, service)])
        assert numbers(take(consumer, 1)) == [1]


def test_a_poisonous_job_lies_in_the_dead_queue_alone(server, settings, broker, service):
    broker.publish([dispatch(1, service, f"{service}_2")])
    seen = []
    for _ in range(1 + topology.DELIVERY_LIMIT):
        with closing(rabbitmq.connect(settings, "victim")) as victim:
            consumer = victim.consumer(service, Reach(1, fixed=True))
            seen += take(consumer, 1)
    assert [one.redelivered for one in seen] == [False, True, True, True]
    with closing(server.connect()) as connection:
        get = partial(connection.channel().basic_get, catalog.dead_queue(service), auto_ack=True)
        _, properties, body = eventually(lambda: (found := get())[0] and found)
    assert body == seen[0].body
    assert properties.headers["x-first-death-reason"] == "delivery_limit"
    assert broker.queue_states([f"{service}_2"]) == {f"{service}_2": QueueState(waiting=1)}


def test_a_deleted_queue_is_declared_again(server, broker, service):
    consumer = broker.consumer(service, Reach(1, fixed=True))
    consumer.take(1, 0.1)
    with closing(server.connect()) as connection:
        connection.channel().queue_delete(catalog.queue(service))
    eventually(lambda: [consumer.take(1, 0.1)] and catalog.queue(service) in server.control("list_queues"))
    broker.publish([dispatch(1, service)])
    assert numbers(take(consumer, 1)) == [1]


def test_publishing_to_a_queue_that_vanished_fails_once(server, broker, service):
    broker.publish([dispatch(1, service)])
    with closing(server.connect()) as connection:
        connection.channel().queue_delete(catalog.queue(service))
    with pytest.raises(BrokerError, match="no queue"):
        broker.publish([dispatch(2, service)])
    broker.publish([dispatch(3, service)])
    assert numbers(take(broker.consumer(service, Reach(1, fixed=True)), 1)) == [3]


def test_a_queue_with_other_arguments_is_a_config_error(server, broker, service):
    with closing(server.connect()) as connection:
        connection.channel().queue_declare(catalog.queue(service), durable=True)
    with pytest.raises(ConfigError, match=catalog.queue(service)):
        broker.publish([dispatch(1, service)])
    with pytest.raises(ConfigError, match=catalog.queue(service)):
        broker.consumer(service, Reach(1, fixed=True)).take(1, 1)


@pytest.mark.parametrize("header", ["two", -3, None, True, ["x"], {"n": 1}])
def test_a_garbled_attempt_is_the_first(server, broker, service, header):
    consumer = broker.consumer(service, Reach(1, fixed=True))
    consumer.take(1, 0.1)
    with closing(server.connect()) as connection:
        properties = pika.BasicProperties(headers={"x-windmill-attempt": header})
        connection.channel().basic_publish("", catalog.queue(service), b"?", properties)
    (delivery,) = take(consumer, 1)
    assert delivery.attempt == 0
    consumer.settle(settled([delivery]))


def test_an_alarm_is_waited_out_with_one_warning(server, broker, service, caplog, monkeypatch):
    monkeypatch.setattr("windmill.rabbitmq.publishing.CONFIRM_TIMEOUT", 0.5)
    broker.publish([dispatch(1, service)])
    stop = threading.Event()
    server.limit_memory(0.0000001)
    try:
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(broker.publish, [dispatch(number, service)]) for number in (2, 3)]
            eventually(lambda: "takes no messages" in caplog.text)
            stopped = pool.submit(broker.publish, [dispatch(4, service)], stop=stop)
            assert not wait([*waiting, stopped], 1.5).done  # longer than a confirm may take
            stop.set()
            with pytest.raises(BrokerError, match="short of memory"):
                stopped.result(SOON)
            server.limit_memory(0.8)
            for one in waiting:
                one.result(SOON)
    finally:
        server.limit_memory(0.8)
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert {1, 2, 3} <= set(numbers(take(broker.consumer(service, Reach(9, fixed=True)), 3)))


def test_looking_for_suspects_during_an_alarm_costs_no_channel(server, broker, service, monkeypatch):
    monkeypatch.setattr("windmill.rabbitmq.consuming.SUSPECTS_EVERY", 0)
    consumer = broker.consumer(service, Reach(1, fixed=True))
    broker.publish([dispatch(1, service)])
    take(consumer, 1)
    server.limit_memory(0.0000001)
    try:
        with ThreadPoolExecutor(1) as pool:
            blocked = pool.submit(broker.publish, [dispatch(2, service)])
            eventually(lambda: broker._link.blocked)
            before = len(broker._link._channels)
            began = time.monotonic()
            assert not any(consumer.suspects() for _ in range(5))
            assert time.monotonic() - began < 8  # an answer that does not come is waited for 10 s
            server.limit_memory(0.8)
            blocked.result(SOON)
    finally:
        server.limit_memory(0.8)
    eventually(lambda: len(broker._link._channels) <= before)


def test_settling_again_and_again_during_an_alarm_leaves_one_copy_too_many(
    server, broker, service, caplog, monkeypatch
):
    monkeypatch.setattr("windmill.rabbitmq.publishing.CONFIRM_TIMEOUT", 0.3)
    broker.publish([dispatch(1, service)])
    consumer = broker.consumer(service, Reach(1, fixed=True))
    taken = take(consumer, 1)
    server.limit_memory(0.0000001)
    try:
        for _ in range(3):  # the first one lies with the broker, which does not look at it yet
            with pytest.raises(BrokerError, match="takes no messages"):
                consumer.settle(settled(taken, Again(delay=0.1, attempt=1)))
    finally:
        server.limit_memory(0.8)
    consumer.settle(settled(taken, Again(delay=0.1, attempt=1)))
    copies = [take(consumer, 1)]
    consumer.settle(settled(copies[0]))
    copies += [late for late in [consumer.take(1, 1)] if late]
    assert [one.attempt for (one,) in copies] == [1, 1]


def test_a_consumer_that_was_cancelled_in_silence_consumes_again(broker, service, monkeypatch, caplog):
    monkeypatch.setattr("windmill.rabbitmq.watching.STALL", 0.3)
    consumer = broker.consumer(service, Reach(5, fixed=True))
    broker.publish([dispatch(1, service)])
    consumer.settle(settled(take(consumer, 1)))
    (channel,) = [one for one in broker._link._channels if one.raw.consumer_tags]
    channel.ask(lambda raw, reply: raw.basic_cancel(raw.consumer_tags[0], callback=reply.give))
    broker.publish([dispatch(2, service)])
    assert numbers(take(consumer, 1)) == [2]
    assert "consuming anew" in caplog.text


def test_a_consumer_whose_hands_are_full_is_left_alone(broker, service, monkeypatch, caplog):
    monkeypatch.setattr("windmill.rabbitmq.watching.STALL", 0.05)
    broker.publish([dispatch(number, service) for number in range(3)])
    consumer = broker.consumer(service, Reach(1, fixed=True))
    taken = take(consumer, 1)
    assert consumer.take(1, 0.5) == []
    consumer.settle(settled(taken))
    assert not take(consumer, 1)[0].redelivered
    assert consumer.take(1, 0.2) == []
    assert not caplog.records


def test_a_network_that_falls_silent_is_left_and_found_again(server, service, monkeypatch):
    monkeypatch.setattr("windmill.rabbitmq.parameters.HEARTBEAT", 1)  # pika adds five seconds
    with Proxy(server.host, server.port) as way:
        settings = Settings(queue_host=way.host, queue_port=way.port)
        with closing(rabbitmq.connect(settings, "worker-1")) as broker:
            consumer = broker.consumer(service, Reach(5, fixed=True))
            broker.publish([dispatch(1, service), dispatch(2, service)])
            taken = take(consumer, 1)
            way.silence()
            eventually(lambda: [consumer.take(0, 0.1)] and not broker._link.wait_open(0), 20)
            way.restore()
            broker.publish([dispatch(3, service)])
            assert sorted(numbers(take(consumer, 3))) == [1, 2, 3]
            consumer.settle(settled(taken))


def test_a_job_held_too_long_costs_the_channel_and_nothing_else(server, settings, service, caplog):
    server.evaluate("application:set_env(rabbit, consumer_timeout, 500)")
    server.evaluate("application:set_env(rabbit, channel_tick_interval, 500)")
    try:
        with closing(rabbitmq.connect(settings, "worker-1")) as broker:
            broker.publish([dispatch(1, service), dispatch(2, service)])
            consumer = broker.consumer(service, Reach(2, fixed=True))
            taken = take(consumer, 2)
            (again, *_) = take(consumer, 1)
            assert again.redelivered
            assert "consumer ack timed out" in caplog.text or "starts anew" in caplog.text
            consumer.settle(settled(taken))  # too late: skipped
            consumer.settle(settled([again]))
    finally:
        server.evaluate("application:set_env(rabbit, consumer_timeout, 1800000)")
        server.evaluate("application:set_env(rabbit, channel_tick_interval, 60000)")


def test_a_census_that_is_killed_midway_loses_nothing(server, settings, broker, service):
    broker.publish([dispatch(number, service) for number in range(1000)])
    with closing(rabbitmq.connect(settings, "counter")) as counter:
        census = counter.census(service)
        next(census)
        server.cut()
        with pytest.raises(BrokerError):
            list(census)
    with closing(broker.consumer(service, Reach(500, fixed=True))) as consumer:
        found = all_of(consumer, {*range(1000)})
        while late := consumer.take(500, 0.5):
            found += numbers(late)
            consumer.settle(settled(late))
    assert len(found) <= 1200


def test_the_broker_shows_who_is_connected(server, broker, service):
    broker.publish([dispatch(1, service)])
    listed = server.control("list_connections", "client_properties")
    assert "worker-1" in listed


def test_messages_are_persistent_and_queues_are_quorum(server, broker, service):
    broker.publish([dispatch(1, service)])
    listed = server.control("list_queues", "name", "type")
    assert f"{catalog.queue(service)}\tquorum" in listed
    assert f"{catalog.dead_queue(service)}\tquorum" in listed
    with closing(server.connect()) as connection:
        _, properties, _ = connection.channel().basic_get(catalog.queue(service), auto_ack=True)
    assert properties.delivery_mode == 2


def _fails(action):
    try:
        action()
    except BrokerError:
        return True
    return False
