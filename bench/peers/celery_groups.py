"""Fan-out as Celery does it, a group an image: `python -m bench.peers.celery_groups IMAGES BODY QUEUE…`.

A group has the task once for each queue. BODY: characters of a text that goes along, or 0 for a path alone.
"""

from __future__ import annotations

import sys

from celery import group

from bench.peers.celery_tasks import analyze
from bench.peers.signals import at_the_signal


def main() -> None:
    images, size, queues = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    body = "x" * size or "/photos/0.jpg"

    def send(number: int) -> None:
        group(analyze.signature((number, body), queue=queue) for queue in queues).apply_async()

    send(0)  # the queues are there before the clock runs
    with at_the_signal():
        for number in range(1, images + 1):
            send(number)


if __name__ == "__main__":
    main()
