"""One attempt at a job: from the bytes of a delivery to what to write, and what becomes of the message."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

from windmill.core import retrying, wire
from windmill.errors import DeliveryLimit, MessageError, WindmillError
from windmill.handlers.base import Handler
from windmill.model import Ack, Again, Bury, DeadRow, Delivery, Handled, Job, Outcome
from windmill.plain import line

log = logging.getLogger(__name__)

_POISON = "handed out again and again, and no worker lived to settle it: it seems to kill them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What `handler` makes of deliveries, of which a job gets `max_retries` more after the first."""

    handler: Handler
    max_retries: int

    def __call__(self, delivery: Delivery) -> Handled:
        started = time.perf_counter()
        job = None
        try:
            job = wire.decode(delivery.body)
            outcome = self._outcome(delivery, job)
        except Exception as error:  # a thread must not die of a job
            if not isinstance(error, WindmillError):
                log.exception("%s: nobody foresaw this", delivery.service)
            return self.judge(delivery, job, error, time.perf_counter() - started)
        seconds = time.perf_counter() - started
        return Handled(delivery=delivery, job=job, outcome=outcome, decision=Ack(), seconds=seconds)

    def _outcome(self, delivery: Delivery, job: Job) -> Outcome:
        if delivery.undeliverable:
            raise DeliveryLimit(_POISON)
        return self.handler(job)

    def judge(self, delivery: Delivery, job: Job | None, error: Exception, seconds: float = 0.0) -> Handled:
        """What becomes of a delivery that met `error`, and the rows that say so."""
        jitter = random.uniform(0.75, 1)  # noqa: S311 -- not a secret
        decision = retrying.decide(error, delivery.attempt, self.max_retries, jitter=jitter)
        outcome = Outcome()
        if isinstance(decision, Again) and job is not None:
            outcome = self.handler.postponed(job, error)
        elif isinstance(decision, Bury):
            outcome = self._given_up(delivery, job, error)
        return Handled(
            delivery=delivery, job=job, outcome=outcome, decision=decision, error=error, seconds=seconds
        )

    def _given_up(self, delivery: Delivery, job: Job | None, error: Exception) -> Outcome:
        has_row = job is not None and not isinstance(error, MessageError)
        rows = self.handler.failed(job, error).rows if job is not None and has_row else ()
        return Outcome(rows=(*rows, dead(delivery, job, error)))


def dead(delivery: Delivery, job: Job | None, error: Exception) -> DeadRow:
    """The row of a job that is given up."""
    return DeadRow(
        service=delivery.service,
        image_id=None if job is None else job.image.image_id,
        body=delivery.body,
        attempts=delivery.attempt + 1,
        error_class=type(error).__name__,
        error=line(error),
    )
