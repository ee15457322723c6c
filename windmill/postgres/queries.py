"""SQL by name, from the files beside this module."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from psycopg2 import sql

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_FILES = ("queries.sql", "selections.sql", "facts.sql", "vectors.sql")


@cache
def queries() -> dict[str, str]:
    """All statements, by the name in the line `-- name: …` above each."""
    folder = files("windmill.postgres")
    return {
        name: statement
        for file in _FILES
        for name, statement in named(folder.joinpath(file).read_text("utf-8")).items()
    }


def named(text: str) -> dict[str, str]:
    """The statements of a file, by the name in the line `-- name: …` above each."""
    parts = _NAME.split(text)[1:]
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@cache
def composed(name: str, **parts: str) -> sql.Composable:
    """One statement with other named ones in its gaps: gap → name."""
    return sql.SQL(query(name)).format(**{gap: sql.SQL(query(part)) for gap, part in parts.items()})


def query(name: str) -> str:
    """One statement."""
    return queries()[name]
