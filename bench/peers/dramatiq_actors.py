"""The job as a Dramatiq actor; `python -m bench.peers.dramatiq_actors COUNT PHOTO` fills the queue.

As its documentation has it: acks come when an actor has ended, no result backend, the usual middleware and
prefetch (two messages a thread).
"""

from __future__ import annotations

import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.peers import place
from bench.peers.work import work

dramatiq.set_broker(RabbitmqBroker(url=place.amqp(), confirm_delivery=True))


@dramatiq.actor(actor_name="analyze")
def analyze(image_id: int, path: str) -> None:
    """One job."""
    work(image_id, path)


if __name__ == "__main__":
    for number in range(1, int(sys.argv[1]) + 1):
        analyze.send(number, sys.argv[2])
