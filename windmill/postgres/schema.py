"""The tables, from `schema.sql` at the top of the repository."""

from __future__ import annotations

from pathlib import Path

from windmill.errors import ConfigError
from windmill.postgres.connection import connect, translating
from windmill.settings import Settings

SCHEMA = Path(__file__).parents[2] / "schema.sql"


def apply(settings: Settings) -> None:
    """Creates what is missing. Raises `ConfigError` where the checkout has no schema.sql."""
    if not SCHEMA.is_file():
        raise ConfigError(f"{SCHEMA}: not there; Windmill runs from its checkout (pip install -e .)")
    connection = connect(settings, "windmill schema")
    try:
        with translating(), connection.cursor() as cursor:
            cursor.execute(SCHEMA.read_text("utf-8"))
    finally:
        connection.close()
