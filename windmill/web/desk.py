"""Work that blocks, done by threads: a few at once, some more that wait, and the rest come again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from windmill.web.refusals import FullError

T = TypeVar("T")


class Desk:
    """Used in the event loop."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once, self._most = at_once, at_once + waiting
        self._in_hand = 0
        self._threads: anyio.CapacityLimiter | None = None

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request. Raises `FullError`."""
        if self._in_hand >= self._most:
            raise FullError(f"{self._most} others are being served; come again in a moment")
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1

    async def do(self, work: Callable[[], T]) -> T:
        """What `work` gives or raises; it holds a place."""
        if self._threads is None:  # made where a loop runs
            self._threads = anyio.CapacityLimiter(self._at_once)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)
