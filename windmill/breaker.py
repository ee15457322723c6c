"""A worker takes no jobs while its service is down; those in hand go back, and none is spent on it."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

from windmill.core.retrying import backoff
from windmill.errors import ServiceDown, ServiceUnavailable
from windmill.handlers.base import Handler
from windmill.middleware.base import Middleware
from windmill.model import Job, Outcome
from windmill.ports import ServiceCaller

LONGEST_PAUSE = 10.0  # seconds between questions to a service that is down: they are cheap


class Breaker:
    """A handler that asks no more once its service is down, and the `ports.Gate` that opens when it is back.

    A service that is healthy and yet failed this image is not down: that counts as an attempt. So does one
    that broke off in the middle of it, or an image that its service dies of would come back for ever.
    """

    def __init__(
        self, handler: Handler, caller: ServiceCaller, middleware: Sequence[Middleware] = ()
    ) -> None:
        self._handler = handler
        self._caller = caller
        self._middleware = middleware
        self._lock = threading.Lock()
        self._down: ServiceDown | None = None

    def __call__(self, job: Job) -> Outcome:
        down = self._down
        if down is not None:
            raise ServiceDown(str(down), service=down.service)
        try:
            return self._handler(job)
        except ServiceUnavailable as error:
            if self._caller.healthy():
                raise
            down = self._trip(error)
            if error.broke_off:
                raise
            raise down from error

    def failed(self, job: Job, error: Exception) -> Outcome:
        return self._handler.failed(job, error)

    def postponed(self, job: Job, error: Exception) -> Outcome:
        return self._handler.postponed(job, error)

    @property
    def shut(self) -> bool:
        """See `ports.Gate`."""
        return self._down is not None

    def wait(self, stop: threading.Event) -> None:
        """Asks `/health`, less and less often, until it answers or `stop` is set."""
        failures = 1
        while not stop.wait(backoff(failures, most=LONGEST_PAUSE) * random.uniform(0.8, 1.2)):  # noqa: S311
            if self._caller.healthy():
                self._close()
                return
            failures += 1

    def _trip(self, error: ServiceUnavailable) -> ServiceDown:
        with self._lock:
            if self._down is None:
                self._down = ServiceDown(str(error), service=error.service)
                for middleware in self._middleware:
                    middleware.parked(str(error))
            return self._down

    def _close(self) -> None:
        with self._lock:
            self._down = None
            for middleware in self._middleware:
                middleware.resumed()
