"""Work that is shared among processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result", covariant=True)
Given = TypeVar("Given")


class Task(Protocol[Result]):
    """Something that another process can do: it is pickled, and so is its result."""

    def run(self) -> Result: ...


class Crew:
    """Does tasks, and tells `done` how many have been, all in all."""

    def __init__(self, each: Callable[..., Iterable[Any]], done: Callable[[int], None]) -> None:
        self._each, self._done, self._count = each, done, 0

    def do(self, tasks: Sequence[Task[Given]]) -> Iterator[Given]:
        """The results, in the order of the tasks."""
        for result in self._each(_run, tasks):
            self._count += 1
            self._done(self._count)
            yield result


@contextmanager
def crew(processes: int, done: Callable[[int], None]) -> Iterator[Crew]:
    """So many processes, or this one alone; whoever leaves early leaves nobody working."""
    if processes == 1:
        yield Crew(map, done)
        return
    context = multiprocessing.get_context("spawn")  # we have threads: a copy of us might stand still
    with context.Pool(processes, initializer=_leave_interrupts_to_the_parent) as pool:
        yield Crew(pool.imap, done)


def _run(task: Task[Given]) -> Given:
    return task.run()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
