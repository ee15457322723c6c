"""Loops that promise nothing beyond at-least-once: what the same machine could do at most.

`python -m bench.peers.bare QUEUE BATCH`: takes jobs from RabbitMQ or from a table, POSTs, and writes rows,
BATCH in one transaction; as many threads as WORKER_CONCURRENCY, each with connections of its own.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pika
from psycopg2.extras import execute_values

from bench.peers import place
from windmill import catalog

AHEAD = 50  # messages beyond a batch that RabbitMQ may send ahead
_IDLE = 0.05  # seconds without a job after which what there is is written
_TAKE = """
DELETE FROM bare_jobs AS jobs
USING (SELECT job_id FROM bare_jobs ORDER BY job_id LIMIT %s FOR UPDATE SKIP LOCKED) AS next
WHERE jobs.job_id = next.job_id
RETURNING jobs.body
"""
_HEAD = (
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="image"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_TAIL = b"\r\n--edge--\r\n"


class Post:
    """POSTs photos over one connection that stays."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection(*place.service())

    def __call__(self, picture: bytes) -> str:
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        self._connection.request("POST", "/analyze", b"".join((_HEAD, picture, _TAIL)), headers)
        return self._connection.getresponse().read().decode()


def done(body: bytes, post: Post) -> place.Row:
    """The row of one job."""
    image = json.loads(body)["image"]
    return place.row(image["id"], post(Path(image["path"]).read_bytes()))


def from_rabbitmq(batch: int) -> None:
    """For ever: deliveries, rows, and one ack for all of a batch."""
    post, rows = Post(), []
    with closing(place.database()) as store, store.cursor() as cursor:
        channel = pika.BlockingConnection(pika.URLParameters(place.amqp())).channel()
        channel.basic_qos(prefetch_count=batch + AHEAD)
        for method, _, body in channel.consume(catalog.queue(place.SERVICE), inactivity_timeout=_IDLE):
            if method is not None:
                rows.append(done(body, post))
                tag = method.delivery_tag
            if rows and (method is None or len(rows) == batch):
                execute_values(cursor, place.UPSERT, rows, page_size=batch)
                channel.basic_ack(tag, multiple=True)
                rows.clear()


def from_table(batch: int) -> None:
    """For ever: jobs, rows and the end of these jobs in one transaction."""
    post = Post()
    with closing(place.database()) as store:
        store.autocommit = False
        while True:
            with store, store.cursor() as cursor:
                cursor.execute(_TAKE, (batch,))
                rows = [done(bytes(body), post) for (body,) in cursor.fetchall()]
                if rows:
                    execute_values(cursor, place.UPSERT, rows, page_size=batch)
            if not rows:
                time.sleep(_IDLE)


QUEUES: dict[str, Callable[[int], None]] = {"rabbitmq": from_rabbitmq, "postgres": from_table}


def main() -> None:
    target, batch = QUEUES[sys.argv[1]], int(sys.argv[2])
    crew = [threading.Thread(target=target, args=(batch,)) for _ in range(place.threads())]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()


if __name__ == "__main__":
    main()
