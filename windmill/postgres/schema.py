"""The tables, from `schema.sql` at the top of the repository."""

from __future__ import annotations

import logging
from pathlib import Path

from windmill.errors import ConfigError
from windmill.postgres.connection import connect, translating
from windmill.settings import Settings

log = logging.getLogger(__name__)

SCHEMA = Path(__file__).parents[2] / "schema.sql"


def apply(settings: Settings) -> None:
    """Creates what is missing; logs the server's warnings, as for a role that has to be made by someone else.

    Raises `ConfigError` where the checkout has no schema.sql.
    """
    if not SCHEMA.is_file():
        raise ConfigError(f"{SCHEMA}: not there; Windmill runs from its checkout (pip install -e .)")
    connection = connect(settings, "windmill schema")
    connection.autocommit = True  # the file is a transaction of its own
    try:
        with translating(), connection.cursor() as cursor:
            cursor.execute(SCHEMA.read_text("utf-8"))
        for notice in connection.notices:
            if notice.startswith("WARNING:"):
                log.warning("%s", notice.splitlines()[0].removeprefix("WARNING:").strip())
    finally:
        connection.close()
