"""A worker that is fast keeps its threads on one core, where they are not in each other's way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from windmill.model import Handled

_FAST = 500.0  # jobs per second; below it the threads wait for the service, and not for each other
_STAY = 3.0  # seconds on one core, which may have become a bad one
_LOOK = 0.1  # seconds on any, in which the kernel finds a better one
_PROCESSOR = 36  # of the fields of proc(5)'s `stat` that follow the name: the core that a thread runs on


class OneCore:
    """A `Middleware` for Linux that has the threads of this process share a core while jobs are fast.

    One thread of Python runs at a time. Whoever leaves the interpreter for a short system call finds it taken
    when it comes back, by a thread that was woken on another core meanwhile; so they wait for each other at
    each call (the convoy effect: D. Beazley, "Understanding the Python GIL", PyCon 2010). On one core, the
    other has not had its turn by then.

    The main thread, which does little, stays wherever it is allowed to be, and shows where that is by now.
    What is started meanwhile begins on that core; threads leave it at the next look, of which there is one
    with the next job.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._together = False
        self._settled = 0
        self._since = clock()
        self._until = self._since + _LOOK

    def settled(self, handled: Handled) -> None:
        """To be called on one of the threads that are to share a core: it is the core of that one."""
        del handled
        self._settled += 1
        now = self._clock()
        if now >= self._until:
            fast = self._settled > _FAST * (now - self._since)
            self._together = fast and not self._together
            self._settled, self._since = 0, now
            self._until = now + (_STAY if self._together else _LOOK)
            with suppress(OSError):  # forbidden, or no file can be opened: then they stay where they are
                _keep_to({_core()} if self._together else os.sched_getaffinity(os.getpid()))

    def parked(self, reason: str) -> None:
        """Nothing to do: who waits is no burden."""

    def resumed(self) -> None:
        """Nothing to do."""


def _core() -> int:
    """The core that this thread runs on."""
    about = Path("/proc/thread-self/stat").read_text("utf-8", "replace")
    return int(about.rpartition(")")[2].split()[_PROCESSOR])


def _keep_to(cores: Collection[int]) -> None:
    """Has all threads but the main one run on `cores`; what was never kept to others is not told either."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and thread.native_id is not None:
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getaffinity(thread.native_id) != cores:
                    os.sched_setaffinity(thread.native_id, cores)
