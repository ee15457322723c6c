"""One model's thread: what waits together is looked at together, and an input's failure is its own."""

import threading

import pytest

from windmill.services.base import Task
from windmill.services.engine import Engine

PATIENCE = 10.0


class Doubling(Task):
    """Doubles numbers, up to four at once; waits for `open` first, and cannot stand 13."""

    batch = 4

    def __init__(self):
        self.open = threading.Event()
        self.begun = threading.Event()
        self.batches = []

    def preprocess(self, asked):
        return asked

    def predict(self, inputs):
        self.begun.set()
        assert self.open.wait(PATIENCE)
        self.batches.append(list(inputs))
        if 13 in inputs:
            raise ValueError("13")
        return [2 * number for number in inputs]

    def postprocess(self, given, output):
        return {"number": output}


class Short(Doubling):
    """Gives one output too few."""

    def predict(self, inputs):
        return []


@pytest.fixture
def task():
    return Doubling()


@pytest.fixture
def done():
    return []


@pytest.fixture
def engine(done):
    return Engine("test", coming=lambda: 0, done=done.append)


def submit_behind(engine, task, numbers):
    """Futures of `numbers`, which had to wait while another was looked at."""
    first = engine.submit(task, 0)
    assert task.begun.wait(PATIENCE)
    futures = [engine.submit(task, number) for number in numbers]
    task.open.set()
    first.result(PATIENCE)
    return futures


def test_what_waits_is_looked_at_in_batches_and_everyone_gets_their_own(engine, task, done):
    futures = submit_behind(engine, task, [1, 2, 3, 4, 5])
    assert [future.result(PATIENCE) for future in futures] == [2, 4, 6, 8, 10]
    assert task.batches == [[0], [1, 2, 3, 4], [5]]
    assert [batch.size for batch in done] == [1, 4, 1]


@pytest.mark.parametrize(
    ("limited", "batches"), [(False, [[0], [1, 2, 3, 4, 5]]), (True, [[0], [1, 2, 3, 4], [5]])]
)
def test_a_box_with_more_memory_has_bigger_batches_where_the_model_takes_them(task, done, limited, batches):
    task.limited = limited
    engine = Engine("doubling", coming=lambda: 0, done=done.append, batch=16)
    for future in submit_behind(engine, task, [1, 2, 3, 4, 5]):
        future.result(PATIENCE)
    assert task.batches == batches


def test_an_input_that_fails_takes_no_other_with_it(engine, task):
    good, bad, other = submit_behind(engine, task, [1, 13, 2])
    assert (good.result(PATIENCE), other.result(PATIENCE)) == (2, 4)
    with pytest.raises(ValueError, match="13"):
        bad.result(PATIENCE)


def test_two_tasks_are_not_put_together(engine, task):
    other = Doubling()
    other.open.set()
    futures = submit_behind(engine, task, [1, 2])
    futures += [engine.submit(other, 7)]
    assert [future.result(PATIENCE) for future in futures] == [2, 4, 14]
    assert other.batches == [[7]]


def test_a_model_that_forgets_an_output_fails_and_the_thread_lives(engine, task):
    with pytest.raises(ValueError, match="shorter"):
        engine.submit(Short(), 1).result(PATIENCE)
    task.open.set()
    assert engine.submit(task, 1).result(PATIENCE) == 2


class Panicking(Doubling):
    """Ends as a library in Rust does."""

    def predict(self, inputs):
        raise PanicError("index out of bounds")


class PanicError(BaseException):
    pass


def test_a_panic_of_a_library_ends_neither_the_thread_nor_who_waits(engine, task):
    with pytest.raises(RuntimeError, match="PanicError: index out of bounds"):
        engine.submit(Panicking(), 1).result(PATIENCE)
    task.open.set()
    assert engine.submit(task, 1).result(PATIENCE) == 2


def test_nobody_waits_for_what_nobody_wants_any_more(engine, task):
    wanted, unwanted = submit_behind_cancelled(engine, task)
    assert wanted.result(PATIENCE) == 2
    assert unwanted.cancelled()
    assert task.batches == [[0], [1]]


def submit_behind_cancelled(engine, task):
    first = engine.submit(task, 0)
    assert task.begun.wait(PATIENCE)
    wanted, unwanted = engine.submit(task, 1), engine.submit(task, 2)
    assert unwanted.cancel()
    task.open.set()
    first.result(PATIENCE)
    return wanted, unwanted


def test_a_batch_waits_for_inputs_that_are_on_their_way(task, done):
    """The second comes while the thread waits for it: `coming` says so, and submits it."""
    later = []

    def coming():
        if not later:
            later.append(engine.submit(task, 2))
        return 1

    task.open.set()
    engine = Engine("test", coming=coming, done=done.append)
    assert engine.submit(task, 1).result(PATIENCE) == 2
    assert later[0].result(PATIENCE) == 4
    assert task.batches == [[1, 2]]


def test_idle_is_noticed(task, done):
    idle = threading.Event()
    Engine("test", coming=lambda: 0, done=done.append, idle=0.001, on_idle=idle.set)
    assert idle.wait(PATIENCE)
