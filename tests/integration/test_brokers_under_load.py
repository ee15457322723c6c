"""Producers and workers at full speed while their broker is restarted and their connections are cut."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count

import pytest

from tests.contract.test_brokers import dispatch, eventually, numbers, settled
from tests.waiting import until
from windmill import rabbitmq
from windmill.core.reach import Reach
from windmill.errors import BrokerError
from windmill.model import Again
from windmill.ports import Broker
from windmill.postgres import broker as postgres
from windmill.settings import Settings

PATIENCE = 60.0
_CUT_POSTGRES = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'worker-%'
"""


@dataclass(frozen=True)
class Place:
    """A broker, and what can happen to it."""

    connect: Callable[[str], Broker]
    restart: Callable[[], object]
    cut: Callable[[], object]


@pytest.fixture(params=["rabbitmq", "postgres"])
def place(request):
    if request.param == "rabbitmq":
        server = request.getfixturevalue("rabbitmq_server")
        settings = Settings(queue_host=server.host, queue_port=server.port)
        return Place(lambda name: rabbitmq.connect(settings, name), server.restart, server.cut)
    server, database = request.getfixturevalue("postgres_server"), request.getfixturevalue("database")
    cut = lambda: server.run(_CUT_POSTGRES, database.db_name)  # noqa: E731
    return Place(lambda name: postgres.connect(database, name), server.restart, cut)


class Load:
    """One producer and three workers, each with a connection of its own. Every tenth job fails once; a worker
    pauses and resumes now and then."""

    def __init__(self, place, service):
        self.place, self.service = place, service
        self.sent, self.done = set(), set()
        self.ending, self.over = threading.Event(), threading.Event()

    def insist(self, action):
        while not self.over.is_set():
            try:
                return action()
            except BrokerError:
                self.over.wait(0.05)
        return None

    def produce(self):
        with closing(self.place.connect("worker-producer")) as broker:
            for number in count():
                window = [dispatch(10 * number + i, self.service) for i in range(10)]
                self.insist(lambda window=window: broker.publish(window))
                self.sent |= {one.job.image.image_id for one in window}
                if self.ending.is_set():
                    return

    def work(self, name):
        with (
            closing(self.place.connect(f"worker-{name}")) as broker,
            closing(broker.consumer(self.service, Reach(20, fixed=True))) as consumer,
        ):
            for turn in count():
                if self.over.is_set():
                    return
                if turn % 20 == name:
                    consumer.pause()
                    consumer.resume()
                taken = consumer.take(10, 0.1)
                failed = [one for one in taken if not one.attempt and not numbers([one])[0] % 10]
                passed = [one for one in taken if one not in failed]
                again = Again(delay=0.05, attempt=1)
                both = [*settled(passed), *settled(failed, again)]
                self.insist(lambda both=both: consumer.settle(both))
                self.done.update(numbers(passed))


@pytest.mark.parametrize("event", ["restart", "cut"])
def test_nothing_is_lost(place, event):
    load = Load(place, f"load_{event}")
    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(load.produce), *(pool.submit(load.work, name) for name in range(3))]
        try:
            for _ in range(1 if event == "restart" else 3):
                before = len(load.done)
                eventually(lambda before=before: len(load.done) >= before + 200, PATIENCE)
                getattr(place, event)()
            load.ending.set()
            working[0].result(PATIENCE)
            until(lambda: load.sent <= load.done, PATIENCE)
        finally:
            load.ending.set()
            load.over.set()
        for one in working:
            one.result(PATIENCE)
    with closing(place.connect("reader")) as broker:
        state = lambda: broker.queue_states([load.service])[load.service]  # noqa: E731
        assert state().consumers == 0
        until(lambda: state().delayed == 0, PATIENCE)  # a second copy may have failed just before the end
