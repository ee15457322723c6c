"""Big tables: what the statements of a job, and the questions of people, cost with so many images.

Each image has ten answers, three merged boxes, four rows in `postprocessing`, its votes and its stages; one
answer in 200 failed, one in 400 is open, and one more queue has a job about every image. A million images are
19 GB and take about ten minutes to make: --keep DIR keeps them, for a next time that is only measured.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from rich.console import Console
from rich.table import Table

from bench.asking import QUESTIONS
from bench.filling import TABLES, fill
from bench.rounds import Figures, arguments, at_least, cell, interleaved, tell
from bench.statements import broker_round, recording, store_round
from tests.servers import Postgres
from windmill.postgres import schema
from windmill.settings import Settings

LEAST = 1000  # images of the smallest database
COUNTED = ("begin_count", "end_count", "analyze_count")  # make the table that questions of `reconcile` go by
PLANNED = re.compile(rb"(?:--.*\n|\s)*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")  # others have no plan
BATCH = 100  # images in one call of a worker's store: neighbours, as a queue brings them


def sizes(most: int) -> list[int]:
    """Powers of ten, and `most`."""
    found = [LEAST]
    while found[-1] * 10 <= most:
        found.append(found[-1] * 10)
    return found if found[-1] == most else [*found, most]


@contextmanager
def filled(wanted: list[int], folder: Path | None) -> Iterator[Mapping[int, Settings]]:
    """A database with each number of images, of which those are made that are not there."""
    with Postgres(durable=True, data=folder and folder.resolve() / "data") as server:
        yield {images: _database(server, images) for images in wanted}


def _database(server: Postgres, images: int) -> Settings:
    name = f"images_{images}"
    settings = Settings(db_host=server.host, db_port=server.port, db_name=name, db_user=server.dbuser)
    if _there(server, name):
        schema.apply(settings)
        return settings
    unfinished = replace(settings, db_name=f"{name}_unfinished")
    server.drop(unfinished.db_name)
    server.run(f"CREATE DATABASE {unfinished.db_name}")
    fill(unfinished, images)
    server.run(f"ALTER DATABASE {unfinished.db_name} RENAME TO {name}")
    return settings


def _there(server: Postgres, name: str) -> bool:
    with closing(server.connect("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        return cursor.fetchone() is not None


# --- a job's statements ------------------------------------------------------------------------------------


def job(settings: Settings, images: int) -> Figures:
    """Microseconds of the server's CPU for each image of a batch, by statement."""
    first = random.randrange(1, images - BATCH + 2)  # noqa: S311
    batch = range(first, first + BATCH)
    with recording() as sent:
        store_round(settings, batch)
        broker_round(settings, batch)
    found: dict[str, float] = {}
    for one in sent:
        found[one.name] = max(found.get(one.name, 0.0), 1e6 * one.cpu / BATCH)
    return found


def jobs_table(seen: Mapping[str, Mapping[str, Any]]) -> Table:
    """A line for each statement, a column for each size."""
    table = Table("µs of the server's CPU an image", *seen)
    for name in dict.fromkeys(name for part in seen.values() for name in part):
        table.add_row(name, *(cell(part[name]) if name in part else "" for part in seen.values()))
    return table


# --- people's questions ------------------------------------------------------------------------------------


def ask(question: Callable[[Settings], object], settings: Settings) -> Figures:
    """Milliseconds of a question, by the clock."""
    with recording() as sent:
        question(settings)
    return {"ms": 1e3 * sum(one.seconds for one in sent)}


def plan(question: Callable[[Settings], object], settings: Settings, *, whole: bool) -> str:
    """How the server goes about the slowest statement of a question: `whole`, as it tells it, with what it
    met on the way; else the scans."""
    with recording() as sent:
        question(settings)
    slowest = max((one for one in sent if PLANNED.match(one.text)), key=lambda one: one.seconds)
    with closing(_connect(settings)) as connection, connection.cursor() as cursor:
        for one in sent:
            if one.name in COUNTED:
                cursor.execute(one.text)
        return f"{slowest.name}: {_plan(cursor, slowest.text, whole=whole)}"


def _plan(cursor: Any, statement: bytes, *, whole: bool) -> str:
    if whole:
        cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS) " + statement)
        return "\n".join(line for (line,) in cursor.fetchall())
    cursor.execute(b"EXPLAIN (FORMAT JSON) " + statement)
    return ", ".join(dict.fromkeys(_scans(cursor.fetchone()[0][0]["Plan"])))


def _connect(settings: Settings) -> Any:
    """Whose work is undone in the end: EXPLAIN ANALYZE does what it explains."""
    return psycopg2.connect(
        host=settings.db_host, port=settings.db_port, dbname=settings.db_name, user=settings.db_user
    )


def _scans(node: Any) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES:
        yield f"ALL OF {node['Relation Name']}"
    elif "Index Name" in node:
        yield node["Index Name"] + ("" if "Index Cond" in node else " (all of it)")
    for child in node.get("Plans", ()):
        yield from _scans(child)


def tell_plans(console: Console, settings: Settings, names: list[str], *, whole: bool) -> None:
    """The slowest statement of each question, and its plan."""
    for name in names:
        shown = plan(QUESTIONS[name], settings, whole=whole)
        console.print(f"{name}: {shown}", markup=False, highlight=False)


def main() -> None:
    parser = arguments("tables", __doc__, rounds=5)
    parser.add_argument(
        "--images", type=at_least(LEAST), default=1_000_000, help="at most (default: %(default)s)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the databases are, or are to stay")
    parser.add_argument("--only", default="", metavar="WORD", help="only questions with WORD in their names")
    parser.add_argument("--plans", action="store_true", help="whole plans, with what was met on the way")
    args = parser.parse_args()
    console = Console(width=150)
    with filled(sizes(args.images), args.keep) as databases:
        parts = {f"{images:,}": partial(job, settings, images) for images, settings in databases.items()}
        seen = {} if args.only else interleaved(parts, args.rounds)
        largest = databases[args.images]
        names = [name for name in QUESTIONS if args.only in name]
        questions = {name: partial(ask, QUESTIONS[name], largest) for name in names}
        answered = interleaved(questions, args.rounds)
        if args.json:
            tell({**seen, **answered}, as_json=True)
            return
        if seen:
            console.print(jobs_table(seen))
        tell(answered, as_json=False, title=f"{args.images:,} images")
        tell_plans(console, largest, names, whole=args.plans)


if __name__ == "__main__":
    main()
