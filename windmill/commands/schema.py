"""`windmill schema`: the tables in PostgreSQL."""

from __future__ import annotations

import argparse
import sys

from windmill import wiring
from windmill.settings import Settings

HELP = """\
Creates Windmill's tables, indexes and views in the database of DB_HOST and DB_NAME, or adds what an older
version lacked. Safe to run twice; the same as: psql -f schema.sql"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none beyond the settings."""


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- a command's signature
    wiring.apply_schema(settings)
    sys.stdout.write(f"tables are in place: {settings.db_name} on {settings.db_host}:{settings.db_port}\n")
    return 0
