"""Databases themselves."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from psycopg2 import sql

from windmill.postgres.connection import connect, translating
from windmill.postgres.queries import query
from windmill.settings import Settings


def create_database(settings: Settings) -> None:
    """Creates the database of `settings` unless it is there. Raises `StoreUnavailable` or `ConfigError`."""
    with (
        translating(),
        closing(connect(replace(settings, db_name="postgres"), "windmill setup")) as connection,
    ):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(query("database_exists"), {"name": settings.db_name})
            if cursor.fetchone() is None:
                cursor.execute(
                    sql.SQL(query("create_database")).format(name=sql.Identifier(settings.db_name))
                )
