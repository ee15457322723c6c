"""What becomes of a delivery after an error: a decision, taken without side effects."""

from __future__ import annotations

from windmill.errors import ImageUnavailable, ServiceBusy, ServiceFull, Verdict, WindmillError
from windmill.model import Ack, Again, Bury, Decision
from windmill.plain import line

# Seconds between attempts, before jitter. RabbitMQ keeps one holding queue for each step, so they are few.
DELAY_STEPS = (1, 5, 30, 120, 600)

# Deliveries after the first that may end without a settlement, as when a worker dies of a job. It counts for
# all that lay in its hands, so that what reaches the limit is only suspect, and tried alone: TRIALS times.
DELIVERY_LIMIT = 3
TRIALS = 2


def decide(error: Exception, attempt: int, max_retries: int, *, jitter: float = 1.0) -> Decision:
    """The decision for a delivery that failed `attempt` times before and now met `error`.

    `jitter`, from 0.75 to 1, scales the delay, so that what failed together does not come back together.
    """
    judged = verdict(error)
    if judged is Verdict.ACK:
        return Ack()
    if judged is Verdict.PARK:
        return Again(delay=max(float(DELAY_STEPS[0]), wish(error)), attempt=attempt)
    if judged is Verdict.AGAIN and attempt < max_retries:
        return Again(delay=max(jitter * step(attempt), wish(error)), attempt=attempt + 1)
    return Bury(error=type(error).__name__, reason=line(error))


def verdict(error: Exception) -> Verdict:
    """An error's own. What nobody foresaw (not a `WindmillError`) is tried again like a busy service: it may
    pass."""
    return error.verdict if isinstance(error, WindmillError) else Verdict.AGAIN


def wish(error: Exception) -> float:
    """Seconds that a server asked to be left alone, at most the last step; 0 when it did not say."""
    if not isinstance(error, ServiceBusy | ServiceFull | ImageUnavailable):
        return 0.0
    return min(error.retry_after or 0.0, DELAY_STEPS[-1])


def step(attempt: int) -> float:
    """Seconds to wait before the attempt after number `attempt`."""
    return float(DELAY_STEPS[min(attempt, len(DELAY_STEPS) - 1)])


def backoff(failures: int, *, least: float = 0.25, most: float = 30.0) -> float:
    """Seconds to wait after `failures` failures in a row: doubling, within bounds; callers add jitter."""
    return float(min(most, least * 2 ** min(max(failures - 1, 0), 30)))
