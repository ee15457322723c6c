"""Which queues a service has in RabbitMQ, and with which arguments.

All are quorum queues: a message is safe once confirmed, on every node that has a replica. Dead-lettering is
`at-least-once` (RabbitMQ 3.10), since the usual kind drops what it moves while the queue it moves to has no
leader, as after a restart. RabbitMQ refuses to declare a queue anew with other arguments, so `queues` is
the only place that says them.
"""

from __future__ import annotations

from collections.abc import Mapping

from windmill import catalog
from windmill.core.retrying import DELAY_STEPS, DELIVERY_LIMIT

Arguments = Mapping[str, str | int]


def queues(service: str) -> dict[str, Arguments]:
    """All queues of `service`, with the arguments to declare each with.

    All exist from the first message on: to ask after a queue that does not exist costs a channel, and the
    broker a line in its log.
    """
    work, dead = catalog.queue(service), catalog.dead_queue(service)
    found: dict[str, Arguments] = {
        dead: {"x-queue-type": "quorum"},
        work: {**_quorum_moving_to(dead), "x-delivery-limit": DELIVERY_LIMIT},
    }
    for step in DELAY_STEPS:
        found[catalog.retry_queue(service, step)] = {
            **_quorum_moving_to(work),
            "x-message-ttl": step * 1000,
        }
    return found


def retry_queues(service: str) -> dict[str, int]:
    """The queues of `service` that hold failed jobs, each with its step in seconds."""
    return {catalog.retry_queue(service, step): step for step in DELAY_STEPS}


def step_for(delay: float) -> int:
    """The retry queue, by its step, that holds a message for `delay` seconds or the next step above."""
    return next((step for step in DELAY_STEPS if step >= delay), DELAY_STEPS[-1])


def _quorum_moving_to(target: str) -> dict[str, str | int]:
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once insists; without a length limit nothing is rejected
    }
