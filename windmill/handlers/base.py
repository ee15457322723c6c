"""What a handler is, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from windmill.errors import ServiceUnavailable
from windmill.model import Job, Outcome, Snapshot, Status


class Handler(Protocol):
    """Work on one job that asks a service; runs in a pool of threads, outside of any transaction."""

    def __call__(self, job: Job) -> Outcome:
        """Raises a `WindmillError`."""
        ...

    def failed(self, job: Job, error: Exception) -> Outcome:
        """What to write when `job` is given up because of `error`."""
        ...

    def postponed(self, job: Job, error: Exception) -> Outcome:
        """What to write when `job` is to be tried again after `error`."""
        ...


class Recomputation(Protocol):
    """Work that follows from what is stored; runs inside the transaction that locks the image.

    What comes of it hangs on what `stage` has seen, and on `identity`: the rule by which it decides.
    """

    @property
    def stage(self) -> str: ...

    @property
    def identity(self) -> str: ...

    def __call__(self, snapshot: Snapshot, *, resumed: bool) -> Outcome: ...


Clock = Callable[[], float]


def failure_status(error: Exception) -> Status:
    """`timeout` where a healthy service did not answer in time, else `error`."""
    timed_out = isinstance(error, ServiceUnavailable) and error.timed_out
    return Status.TIMEOUT if timed_out else Status.ERROR
