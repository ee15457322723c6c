"""The threads that handle jobs: each takes the next delivery, makes what it can of it, and passes it on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue

from windmill.core.reach import Reach
from windmill.model import Delivery

_AHEAD = 0.02  # seconds of work that lie ready
_MORE = 3  # for each thread, at most: what lies ready goes to no other worker, should the service become slow


class Hands:
    """`size` threads that `work` on what they are given, in the order in which it comes.

    As much again lies ready, or more where they are fast, so that none waits for the one who gives, who gives
    many at a time: to wake up for a few costs a third of what they cost. One future for each thread and none
    for each job: those would cost a fifth. Without threads, it is the giver who works.
    """

    def __init__(self, size: int, work: Callable[[Delivery], None], failed: Callable[[], object]) -> None:
        """`failed` is called when `work` raises; `close` raises it then."""
        self._size = size
        self._work = work
        self._ready: SimpleQueue[Delivery | None] = SimpleQueue()
        self._reach = Reach(size, ahead=_AHEAD, more=_MORE * size)
        self._room = threading.Event()
        self._pool = ThreadPoolExecutor(max(1, size), thread_name_prefix="handler")
        self._threads = [self._pool.submit(self._run) for _ in range(size)]
        for thread in self._threads:
            thread.add_done_callback(lambda _: failed())

    def room(self, most: int, timeout: float) -> int:
        """How many to give them now, up to `most`, after waiting up to `timeout` seconds until it is some."""
        if not self._size:
            return most
        if not self._hungry:
            self._room.clear()
            if not self._hungry:
                self._room.wait(timeout)
        return min(most, self._reach.size - self._ready.qsize()) if self._hungry else 0

    def give(self, deliveries: Sequence[Delivery]) -> None:
        self._reach.note(len(deliveries), time.monotonic())
        for delivery in deliveries:
            if self._size:
                self._ready.put(delivery)
            else:
                self._work(delivery)

    def close(self, *, wait: bool) -> None:
        """Drops what none has begun, and ends, or waits for what they are at. Raises what `work` raised."""
        with suppress(Empty):
            while True:
                self._ready.get_nowait()
        for _ in self._threads:
            self._ready.put(None)
        self._pool.shutdown(wait=wait)
        for thread in self._threads:
            if thread.done():
                thread.result()

    @property
    def _hungry(self) -> bool:
        return 2 * self._ready.qsize() <= self._reach.size

    def _run(self) -> None:
        while (delivery := self._ready.get()) is not None:
            if self._hungry and not self._room.is_set():
                self._room.set()
            self._work(delivery)
