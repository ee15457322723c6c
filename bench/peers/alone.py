"""Half a job in a tight loop: `python -m bench.peers.alone PART JOBS PHOTO`.

PART: `http`, or rows by `commit`, `batch` or `copy`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from psycopg2.extras import execute_values

from bench.instant_service import BODY
from bench.peers import place
from bench.peers.bare import Post
from bench.peers.signals import at_the_signal

BATCH = 100  # rows of one transaction, where it has many


def http(jobs: int, photo: Path) -> None:
    """The same photo again and again, from all threads."""
    threads, picture = place.threads(), photo.read_bytes()
    posts = [Post() for _ in range(threads)]

    def loop(post: Post) -> None:
        for _ in range(jobs // threads):
            post(picture)

    for post in posts:
        post(picture)
    with ThreadPoolExecutor(threads) as pool, at_the_signal():
        list(pool.map(loop, posts))


def rows(write: Callable[[Any, list[place.Row]], None], jobs: int) -> None:
    """A row for each image."""
    reply = BODY.decode()
    with place.database() as store, store.cursor() as cursor, at_the_signal():
        for start in range(1, jobs + 1, BATCH):
            write(cursor, [place.row(number, reply) for number in range(start, start + BATCH)])


def commit_each(cursor: Any, batch: list[place.Row]) -> None:
    for one in batch:
        execute_values(cursor, place.UPSERT, [one])


def commit_all(cursor: Any, batch: list[place.Row]) -> None:
    execute_values(cursor, place.UPSERT, batch, page_size=BATCH)


def copy(cursor: Any, batch: list[place.Row]) -> None:
    """Straight into the table, which knows no conflict then."""
    lines = "".join("\t".join(map(_copied, one)) + "\n" for one in batch)
    cursor.copy_expert(f"COPY results ({place.COLUMNS}) FROM STDIN", io.StringIO(lines))


def _copied(value: object) -> str:
    if isinstance(value, list):
        return "{" + ",".join(value) + "}"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


WRITERS = {"commit": commit_each, "batch": commit_all, "copy": copy}


def main() -> None:
    part, jobs, photo = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if part == "http":
        http(jobs, photo)
    else:
        rows(WRITERS[part], jobs)


if __name__ == "__main__":
    main()
