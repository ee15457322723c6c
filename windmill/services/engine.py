"""One model in one thread: what is asked meanwhile is looked at together, as one batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from windmill.services.base import Task

AnyTask = Task[Any, Any, Any]

_COMPANY = 0.004  # seconds that a batch waits for inputs that are on their way


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    task: AnyTask
    given: Any
    output: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True, slots=True)
class Batch:
    """What the thread did at once: how many inputs, how long the first waited, how long it took (seconds)."""

    task: AnyTask
    size: int
    waited: float
    took: float


class Engine:
    """Inputs wait in turn for the thread; those of one task are put together up to its `batch`, or up to
    `batch` where that is more and the task gains by it.

    `coming` tells how many inputs are being made just now. While there are some, a batch that is not full
    waits a few milliseconds for them; alone, an input never waits. `idle` seconds without work, and
    `on_idle` is called in the thread (see Triton's dynamic batcher for the idea).
    """

    def __init__(
        self,
        name: str,
        *,
        coming: Callable[[], int],
        done: Callable[[Batch], None],
        batch: int = 1,
        idle: float | None = None,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._coming, self._done, self._batch = coming, done, batch
        self._idle, self._on_idle = idle, on_idle
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many inputs wait."""
        return len(self._waiting)

    def submit(self, task: AnyTask, given: Any) -> Future[Any]:
        """The task's output for this input, once it is there."""
        waiting = _Waiting(task, given)
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.output

    def _work(self) -> None:
        while True:
            with self._changed:
                some = self._changed.wait_for(lambda: self._waiting, self._idle)
            if some:
                self._predict(self._next())
            else:
                self._on_idle()

    def _next(self) -> list[_Waiting]:
        """The inputs to look at together, as far as somebody still wants to know."""
        with self._changed:
            first = self._waiting[0]
            self._changed.wait_for(lambda: not self._lonely(first.task), _COMPANY)
            batch = [one for one in self._waiting if one.task is first.task][: self._most(first.task)]
            for one in batch:
                self._waiting.remove(one)
            return [one for one in batch if one.output.set_running_or_notify_cancel()]

    def _lonely(self, task: AnyTask) -> bool:
        """True while a batch has room for inputs that are on their way."""
        return sum(one.task is task for one in self._waiting) < self._most(task) and self._coming() > 0

    def _most(self, task: AnyTask) -> int:
        gains = task.batch > 1 and not task.limited
        return max(task.batch, self._batch) if gains else task.batch

    def _predict(self, batch: Sequence[_Waiting]) -> None:
        if not batch:
            return
        started = time.perf_counter()
        try:
            outputs = batch[0].task.predict([one.given for one in batch])
            answers = list(zip(batch, outputs, strict=True))
        except BaseException as exc:  # noqa: BLE001 -- whatever a model raises belongs to who asked
            self._failed(batch, exc)
            return
        self._done(Batch(batch[0].task, len(batch), started - batch[0].since, time.perf_counter() - started))
        for one, output in answers:
            one.output.set_result(output)

    def _failed(self, batch: Sequence[_Waiting], exc: BaseException) -> None:
        """An input that the model cannot look at takes no other with it: each is tried alone.

        A panic of a library in Rust, which is no `Exception`, ends neither this thread nor who waits for it.
        """
        if len(batch) == 1:
            panic = None if isinstance(exc, Exception) else RuntimeError(f"{type(exc).__name__}: {exc}")
            batch[0].output.set_exception(panic or exc)
            return
        for one in batch:
            self._predict([one])
