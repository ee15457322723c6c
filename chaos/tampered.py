"""A Windmill process with one thing changed: `python -m chaos.tampered HOW COMMAND…`.

The hooks live here and not in Windmill, and change nothing but what their line in `HOW` says.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chaos.photos import MARKED
from windmill import cli
from windmill.handlers.analyze import Analyze
from windmill.model import Dispatch, Job, Outcome
from windmill.postgres.broker import PostgresBroker
from windmill.rabbitmq import RabbitMQ

Publish = Callable[..., None]


def crash() -> None:
    """The process dies of a marked photo, as of a bug in a C library."""
    look = Analyze.__call__

    def call(self: Analyze, job: Job) -> Outcome:
        if f"/{MARKED}/" in str(job.image.path):
            os._exit(139)
        return look(self, job)

    Analyze.__call__ = call  # type: ignore[method-assign]


def twice() -> None:
    """Every message is published twice."""
    _publishing(lambda dispatches: [*dispatches, *dispatches])


def shuffle() -> None:
    """Messages leave in any order, and not the same one for each queue."""
    _publishing(_shuffled)


def _shuffled(dispatches: Sequence[Dispatch]) -> list[Dispatch]:
    single = [Dispatch(job=one.job, services=(service,)) for one in dispatches for service in one.services]
    random.shuffle(single)
    return single


def _publishing(change: Callable[[Sequence[Dispatch]], list[Dispatch]]) -> None:
    for broker in (RabbitMQ, PostgresBroker):
        _wrap(broker, broker.publish, change)


def _wrap(broker: Any, publish: Publish, change: Callable[[Sequence[Dispatch]], list[Dispatch]]) -> None:
    broker.publish = lambda self, dispatches, **how: publish(self, change(dispatches), **how)


HOW: Mapping[str, Callable[[], None]] = {"crash": crash, "twice": twice, "shuffle": shuffle}

if __name__ == "__main__":
    HOW[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
