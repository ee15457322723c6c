"""The job as a Celery task; `python -m bench.peers.celery_tasks COUNT PHOTO` fills the queue.

Set up as Celery's guide to optimizing says for many short tasks: a large prefetch multiplier (64 or 128), no
results that nobody reads. Acks come late and publishes are confirmed, as Windmill's; what a task can do
without is off (events, remote control; gossip, mingle and heartbeats between workers on the command line).
"""

from __future__ import annotations

import sys

from celery import Celery

from bench.peers import place
from bench.peers.work import work

app = Celery("bench", broker=place.amqp())
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},
    task_acks_late=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=128,
)


@app.task(name="analyze")
def analyze(image_id: int, path: str) -> None:
    """One job."""
    work(image_id, path)


if __name__ == "__main__":
    with app.producer_or_acquire() as producer:
        for number in range(1, int(sys.argv[1]) + 1):
            analyze.apply_async((number, sys.argv[2]), producer=producer)
