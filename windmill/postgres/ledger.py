"""The producer's side of the database: what is missing, and what was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values

from windmill.model import Dispatch, Image, Job
from windmill.postgres.connection import Session, connect, translating
from windmill.postgres.queries import query
from windmill.settings import Settings

_FETCH = 500  # rows that the server-side cursor brings at a time
_PAGE = 5000


class PostgresLedger:
    """A `ports.DispatchLedger`: one connection streams, another notes."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._session = Session(settings, name)

    def missing(
        self, services: Sequence[str], *, group: str | None, limit: int | None, resume: bool
    ) -> Iterator[Dispatch]:
        """See `ports.DispatchLedger`."""
        with translating():
            connection = connect(self._settings, self._name)
            try:
                with connection.cursor(name="missing") as cursor:
                    cursor.itersize = _FETCH
                    cursor.execute(query("missing"), _wanted(services, group, limit, resume))
                    for image_id, path, url, lacking in cursor:
                        image = Image(image_id=image_id, path=path, url=url)
                        yield Dispatch(job=Job(image=image), services=tuple(lacking))
            finally:
                connection.close()

    def count_missing(
        self, services: Sequence[str], *, group: str | None, limit: int | None, resume: bool
    ) -> int:
        """See `ports.DispatchLedger`."""
        counting = sql.SQL(query("count_missing")).format(missing=sql.SQL(query("missing")))
        return int(self._value(counting, _wanted(services, group, limit, resume)))

    def now(self) -> datetime:
        """See `ports.DispatchLedger`."""
        moment: datetime = self._value(sql.SQL(query("server_time")), {})
        return moment

    def record(self, dispatches: Iterable[Dispatch], *, sent: datetime) -> None:
        """See `ports.DispatchLedger`."""
        rows = sorted((d.job.image.image_id, service, sent) for d in dispatches for service in d.services)
        if rows:
            with self._session.transaction() as cursor:
                execute_values(cursor, query("record_dispatches"), rows, page_size=_PAGE)

    def groups(self) -> Mapping[str, int]:
        """See `ports.DispatchLedger`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("groups"))
            return dict(cursor.fetchall())

    def close(self) -> None:
        """Closes the connection that notes."""
        self._session.close()

    def _value(self, statement: sql.Composable, parameters: Mapping[str, Any]) -> Any:
        with self._session.transaction() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchone()[0]


def _wanted(services: Sequence[str], group: str | None, limit: int | None, resume: bool) -> dict[str, Any]:
    return {"services": list(services), "group": group, "limit": limit, "resume": resume}
