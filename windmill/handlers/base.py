"""What a handler is, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from windmill.core import retrying
from windmill.errors import ServiceChanged, ServiceDown, ServiceUnavailable, Verdict
from windmill.model import DispatchRow, Job, Outcome, Snapshot, State, Status
from windmill.plain import line


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


def waiting(error: Exception) -> State:
    """The state of a job that is to be tried again after `error`: parked while it is nothing of its own."""
    return State.PARKED if isinstance(error, ServiceDown | ServiceChanged) else State.QUEUED


def dispatched(
    service: str, job: Job, state: State, error: Exception | None = None, found: int | None = None
) -> DispatchRow:
    """What has become of a job, for the ledger."""
    return DispatchRow(
        image_id=job.image.image_id,
        service=service,
        version=job.version,
        state=state,
        attempted=error is None or retrying.verdict(error) is not Verdict.PARK,
        found=found,
        error_class=None if error is None else type(error).__name__,
        error=None if error is None else line(error),
    )
