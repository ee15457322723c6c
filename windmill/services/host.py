"""A service's model: loaded at once or on first use, asked within limits, forgotten when idle."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
import cv2
import numpy as np

from windmill.errors import ConfigError, ImageError
from windmill.services import memory
from windmill.services.base import Captioned, Info, Model, Photo, Reply, RequestError, Task, UpstreamError
from windmill.services.engine import Batch, Engine
from windmill.services.metrics import Metrics

log = logging.getLogger(__name__)

_SUSPICIOUS = 3  # failures in a row: one can be the photo's fault
_PAUSE = 5.0  # seconds from a load that failed to the next attempt
_PATIENCE = 10.0  # seconds that a suspect may take for a grey photo
_HANDS = max(2, min(8, os.cpu_count() or 2))  # photos decoded and prepared at once, up to 150 MB each


def _grey() -> Photo:
    """A photo of nothing."""
    pixels = np.full((64, 64, 3), 128, np.uint8)
    return Photo(data=cv2.imencode(".png", pixels)[1].tobytes(), pixels=pixels)


_SAMPLES: dict[type, Any] = {
    Photo: _grey(),
    str: "a grey square",
    Captioned: Captioned(photo=_grey(), caption="grey"),
}
_OTHERS_FAULT = (RequestError, ImageError, UpstreamError, ConfigError)


class FullError(Exception):
    """More requests than a service takes at once; the model may be through with them in `retry_after` s."""

    def __init__(self, most: int, retry_after: int) -> None:
        super().__init__(f"{most} requests wait already; come again in {retry_after} s")
        self.retry_after = retry_after


class _Load(Task[None, None, Model]):
    """Loading as work of the model's one thread."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load

    def preprocess(self, asked: None) -> None:
        """There is nothing to prepare."""

    def predict(self, inputs: Sequence[None]) -> Sequence[Model]:
        return [self._load() for _ in inputs]

    def postprocess(self, given: None, output: Model) -> Reply:  # noqa: ARG002 -- of a task
        """Who waits takes the model itself."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`waiting`: requests in hand at once. `batch`: inputs that a model looks at together, where that is more
    than it does by itself. `idle`: seconds without a request until a model leaves memory."""

    waiting: int = 64
    batch: int = 1
    idle: float | None = None


class Host:
    """One model and its thread. What is public here runs in the event loop, but for `load`."""

    def __init__(
        self, name: str, loading: Callable[[], Model], asks: dict[str, type], limits: Limits, metrics: Metrics
    ) -> None:
        self._name, self._loading, self._asks, self._limits = name, loading, asks, limits
        self._metrics = metrics
        self._model: Model | None = None
        self._one_loads = asyncio.Lock()
        self._hands = anyio.CapacityLimiter(_HANDS)
        self._load = _Load(self._warm)
        self._load_error: Exception | None = None
        self._load_again = 0.0  # by the monotonic clock
        self._in_hand = self._coming = self._failures = 0
        self._pace = 0.1  # seconds for one input, as of late
        self._engine = Engine(
            name,
            coming=lambda: self._coming,
            done=self._done,
            batch=limits.batch,
            idle=limits.idle,
            on_idle=self._forget,
        )
        metrics.watch(lambda: len(self._engine), lambda: self._in_hand, lambda: self._model is not None)

    @property
    def info(self) -> Info | None:
        """What looks, while it is in memory."""
        return self._model.info if self._model else None

    def load(self) -> None:
        """Has the model in memory when it returns. Raises `ConfigError`."""
        self._model = self._engine.submit(self._load, None).result()

    def _warm(self) -> Model:
        """The model, warmed up by a grey photo; in the engine's thread, which a process that ends leaves."""
        started = time.perf_counter()
        model = self._loading()
        for path, task in model.tasks.items():
            with suppress(RequestError):  # that there is nothing to tell of grey is an answer, too
                task.alone(_SAMPLES[self._asks[path]])
        log.info("%s: loaded in %.1f s", self._name, time.perf_counter() - started)
        return model

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place for one request. Raises `FullError`."""
        if self._in_hand >= self._limits.waiting:
            self._metrics.full()
            raise FullError(self._limits.waiting, min(60, math.ceil(self._pace * self._in_hand)))
        self._in_hand += 1
        try:
            yield
        finally:
            self._in_hand -= 1

    async def ask(self, path: str, received: Callable[[], Any]) -> tuple[Reply, Info]:
        """The answer to what `received` gives, which may take long (it decodes), and who gave it.

        Raises `ConfigError` when the model cannot be loaded, and whatever the model raises.
        """
        model = await self._loaded()
        task = model.tasks[path]
        try:
            async with self._making():
                given = await self._apart("preprocess", lambda: task.preprocess(received()))
            output = await asyncio.wrap_future(self._engine.submit(task, given))
            reply: Reply = await self._apart("postprocess", lambda: task.postprocess(given, output))
        except _OTHERS_FAULT:
            raise
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        return reply, model.info

    async def works(self) -> None:
        """Nothing, if a request may be sent. Raises what is in the way.

        A model that could not be loaded is loaded again, and one that failed several times in a row is shown
        a plain grey photo. Without that second look a broken service would never be found to have recovered:
        who believes /health sends it nothing more.
        """
        if self._one_loads.locked():  # somebody loads it just now, which may take long
            if self._load_error:
                raise self._load_error
            return
        model = await self._loaded() if self._load_error else self._model
        if model and model.check:
            await anyio.to_thread.run_sync(model.check)
        if self._failures >= _SUSPICIOUS:
            await self._look_at_grey(await self._loaded())
            self._failures = 0

    async def _look_at_grey(self, model: Model) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                for path, task in model.tasks.items():
                    with suppress(RequestError):
                        given = task.preprocess(_SAMPLES[self._asks[path]])
                        task.postprocess(given, await asyncio.wrap_future(self._engine.submit(task, given)))
        except TimeoutError as exc:
            raise UpstreamError(f"the model has not answered for {_PATIENCE:g} s") from exc

    async def _loaded(self) -> Model:
        async with self._one_loads:
            if self._model is None:
                self._model = await self._loaded_anew()
            return self._model

    async def _loaded_anew(self) -> Model:
        """One attempt for all that wait; the next one after a while."""
        if self._load_error and time.monotonic() < self._load_again:
            raise self._load_error
        try:
            model: Model = await asyncio.wrap_future(self._engine.submit(self._load, None))
        except Exception as exc:
            self._load_error, self._load_again = exc, time.monotonic() + _PAUSE
            raise
        self._load_error = None
        return model

    @asynccontextmanager
    async def _making(self) -> AsyncIterator[None]:
        """Counts an input that the model will get in a moment."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    async def _apart(self, stage: str, work: Callable[[], Any]) -> Any:
        """Lets a thread do it, so that the loop goes on."""

        def timed() -> Any:
            started = time.perf_counter()
            try:
                return work()
            finally:
                self._metrics.stage(stage, time.perf_counter() - started)

        return await anyio.to_thread.run_sync(timed, limiter=self._hands)

    def _done(self, batch: Batch) -> None:
        if batch.task is self._load:
            return
        self._pace += 0.1 * (batch.took / batch.size - self._pace)
        self._metrics.batch(batch)

    def _forget(self) -> None:
        """Frees the memory of a model that nobody asks."""
        if self._model and not self._in_hand:
            self._model = None
            memory.give_back()
            log.info("%s: unloaded after %g s without a request", self._name, self._limits.idle)
