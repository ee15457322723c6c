"""Jobs in hand wait while their service is down; none is spent on it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

from windmill.core.retrying import backoff
from windmill.errors import Interrupted, ServiceDown, ServiceUnavailable
from windmill.handlers.base import Handler
from windmill.middleware.base import Middleware
from windmill.model import Job, Outcome
from windmill.ports import ServiceCaller

PATIENCE = 600.0  # seconds


class Parking:
    """A handler that, when its service cannot be reached, waits for `/health` and then tries again.

    The consumer stops by itself: with every thread waiting and its prefetch full it takes nothing more.
    A service that is healthy and yet failed this image is not down: that counts as an attempt. A job is
    held for at most `patience` seconds, which must be well within the broker's acknowledgement timeout
    (30 minutes in RabbitMQ), and then goes back to wait in its queue.
    """

    def __init__(
        self,
        handler: Handler,
        caller: ServiceCaller,
        stop: threading.Event,
        middleware: Sequence[Middleware] = (),
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._handler = handler
        self._caller = caller
        self._stop = stop
        self._middleware = middleware
        self._patience = patience
        self._waiting = 0
        self._lock = threading.Lock()

    def __call__(self, job: Job) -> Outcome:
        while True:
            try:
                return self._handler(job)
            except ServiceUnavailable as error:
                if self._caller.healthy():
                    raise
                self._wait(error)

    def failed(self, job: Job, error: Exception) -> Outcome:
        return self._handler.failed(job, error)

    def _wait(self, error: ServiceUnavailable) -> None:
        self._enter(str(error))
        try:
            failures, given_back = 1, time.monotonic() + self._patience
            while not self._stop.wait(backoff(failures) * random.uniform(0.8, 1.2)):  # noqa: S311
                if self._caller.healthy():
                    return
                if time.monotonic() > given_back:
                    raise ServiceDown(str(error), service=error.service) from error
                failures += 1
        finally:
            self._leave()
        raise Interrupted(f"stopped while {error.service} was down") from error

    def _enter(self, reason: str) -> None:
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                for middleware in self._middleware:
                    middleware.parked(reason)

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
            if self._waiting == 0 and not self._stop.is_set():
                for middleware in self._middleware:
                    middleware.resumed()
