"""SQL by name, from `queries.sql`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """All statements, by the name in the line `-- name: …` above each."""
    text = files("windmill.postgres").joinpath("queries.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str) -> str:
    """One statement."""
    return queries()[name]
