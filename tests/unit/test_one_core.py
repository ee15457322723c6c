"""Where the threads of a worker may run: together while it is fast, anywhere else."""

import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image as Pictures

from windmill.decoding.pool import Decoders
from windmill.images import ImageFiles
from windmill.model import Ack, Delivery, Handled, Outcome
from windmill.settings import Settings

if sys.platform != "linux":
    pytest.skip("only Linux lets a process say where its threads run", allow_module_level=True)

from windmill.one_core import OneCore

DONE = Handled(
    delivery=Delivery(service="blip", body=b"", token=1, attempt=0),
    job=None,
    outcome=Outcome(),
    decision=Ack(),
    seconds=0.0,
)


class Worker:
    """Two threads beside the main one, the first of which settles, and a clock."""

    def __init__(self):
        self.now = 0.0
        self.anywhere = os.sched_getaffinity(0)
        self.one_core = OneCore(lambda: self.now)
        self.committer, self.handler = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def settle(self, count, seconds):
        for _ in range(count):
            self.now += seconds / count
            self.committer.submit(self.one_core.settled, DONE).result()

    def places(self):
        """Where the handler and the committer may run."""
        return [pool.submit(os.sched_getaffinity, 0).result() for pool in (self.handler, self.committer)]

    def close(self):
        for pool in (self.committer, self.handler):
            pool.shutdown()


@pytest.fixture
def worker():
    made = Worker()
    made.places()  # the threads are there
    yield made
    made.close()


def test_threads_of_a_fast_worker_share_a_core(worker):
    worker.settle(200, 0.2)
    handler, committer = worker.places()
    assert handler == committer
    assert len(handler) == 1


def test_they_look_for_a_better_one_now_and_then(worker):
    worker.settle(110, 0.11)
    assert worker.places() != [worker.anywhere] * 2 or len(worker.anywhere) == 1
    worker.settle(3000, 3.0)
    assert worker.places() == [worker.anywhere] * 2


def test_threads_of_a_slow_worker_run_anywhere(worker):
    worker.settle(40, 1.0)
    assert worker.places() == [worker.anywhere] * 2


def test_one_that_becomes_slow_lets_them_go(worker):
    worker.settle(200, 0.2)
    worker.settle(10, 4.0)
    assert worker.places() == [worker.anywhere] * 2


def test_the_main_thread_stays_free(worker):
    worker.settle(200, 0.2)
    assert os.sched_getaffinity(threading.get_native_id()) == worker.anywhere


def test_a_decoder_that_is_started_meanwhile_runs_anywhere(worker):
    worker.settle(200, 0.2)
    decoders = Decoders(1)
    file = io.BytesIO()
    Pictures.new("RGB", (8, 8)).save(file, "PNG")
    worker.handler.submit(ImageFiles(Settings(), decoders).decode, "a.png", file.getvalue()).result()
    assert [os.sched_getaffinity(pid) for pid in decoders.pids] == [worker.anywhere]
    decoders.close()


def test_where_no_file_can_be_opened_they_stay_where_they_are(worker, monkeypatch):
    def refused():
        raise OSError("Too many open files")

    monkeypatch.setattr("windmill.one_core._core", refused)
    worker.settle(200, 0.2)
    assert worker.places() == [worker.anywhere] * 2


def test_what_the_main_thread_may_use_by_now_counts(worker):
    worker.settle(110, 0.11)
    fewer = {min(worker.anywhere)}
    os.sched_setaffinity(os.getpid(), fewer)
    try:
        worker.settle(10, 4.0)
        assert worker.places() == [fewer] * 2
    finally:
        os.sched_setaffinity(os.getpid(), worker.anywhere)
