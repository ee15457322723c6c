"""Jobs that were given up: listed, sent again, or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from windmill.core import wire
from windmill.dead import Dead, DeadGroup, Matching
from windmill.errors import MessageError
from windmill.model import Dispatch
from windmill.postgres.connection import Session
from windmill.postgres.ledger import send_and_record, server_time
from windmill.postgres.queries import composed, query
from windmill.settings import Settings


class PostgresGraveyard:
    """A `ports.Graveyard`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def now(self) -> datetime:
        """See `ports.Graveyard`."""
        with self._session.transaction() as cursor:
            return server_time(cursor)

    def groups(self, matching: Matching) -> Sequence[DeadGroup]:
        """See `ports.Graveyard`."""
        with self._session.transaction() as cursor:
            cursor.execute(composed("dead_groups", matching="dead_matching"), asdict(matching))
            return [
                DeadGroup(
                    service=service,
                    error_class=error_class,
                    count=count,
                    first=first,
                    last=last,
                    sample_id=sample,
                    sample_image=image,
                    sample_error=error,
                )
                for service, error_class, count, first, last, sample, image, error in cursor.fetchall()
            ]

    def jobs(self, matching: Matching, *, after: int, limit: int) -> Sequence[Dead]:
        """See `ports.Graveyard`."""
        with self._session.transaction() as cursor:
            return _some(cursor, matching, after, limit)

    def replay(
        self, matching: Matching, send: Callable[[Sequence[Dispatch]], None], *, after: int, limit: int
    ) -> tuple[Sequence[Dispatch], int]:
        """See `ports.Graveyard`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("send_in_turn"))
            found = _some(cursor, matching, after, limit)
            alive = [(one.dead_id, dispatch) for one in found for dispatch in _dispatches(one)]
            dispatches = [dispatch for _, dispatch in alive]
            if dispatches:
                sent = send_and_record(cursor, dispatches, send)
                cursor.execute(
                    query("delete_dead"), {"dead_ids": [dead_id for dead_id, _ in alive], "sent": sent}
                )
        return dispatches, found[-1].dead_id if found else after

    def drop(self, matching: Matching) -> int:
        """See `ports.Graveyard`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("send_in_turn"))
            cursor.execute(composed("drop_dead", matching="dead_matching"), asdict(matching))
            return int(cursor.fetchone()[0])

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()


def _some(cursor: Any, matching: Matching, after: int, limit: int) -> list[Dead]:
    parameters = {**asdict(matching), "after": after, "limit": limit}
    cursor.execute(composed("dead_jobs", matching="dead_matching"), parameters)
    return [_dead(*row) for row in cursor.fetchall()]


def _dead(*row: Any) -> Dead:
    names = ("dead_id", "service", "image_id", "image", "body", "attempts", "error_class", "error",
             "worker_id", "buried_at")  # fmt: skip
    values = dict(zip(names, row, strict=True))
    return Dead(**{**values, "body": bytes(values["body"])})


def _dispatches(dead: Dead) -> Sequence[Dispatch]:
    """The job anew; none for a message that never was one: it would only come back."""
    try:
        return [Dispatch(job=wire.decode(dead.body), services=(dead.service,))]
    except MessageError:
        return []
