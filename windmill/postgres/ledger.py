"""The ledger of what was asked for: which jobs to send, and noting that they were sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from psycopg2 import sql
from psycopg2.extras import execute_values

from windmill.catalog import BOX_WORKERS, INDEX_WORKERS, STAGES
from windmill.core import wire
from windmill.findings import Standing
from windmill.model import Box, BoxRef, Caption, Dispatch, Image, Job, Missing, Selection, State
from windmill.postgres.connection import Session
from windmill.postgres.queries import composed, queries, query
from windmill.settings import Settings

_PAGE = 5000
_UNRECORDED = frozenset(STAGES)  # what becomes of these is told by `stages`


class PostgresLedger:
    """A `ports.Ledger`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def count(self, selection: Selection) -> Mapping[str, int]:
        """See `ports.Ledger`."""
        counting = composed("count_selected", selection=_name(selection))
        return dict(self._all(counting, _parameters(selection, 0, None)))

    def count_images(self, selection: Missing, limit: int | None = None) -> int:
        """See `ports.Ledger`."""
        counting = composed("count_selected_images", selection=_name(selection))
        return int(self._all(counting, _parameters(selection, 0, limit))[0][0])

    def send(
        self,
        selection: Selection,
        send: Callable[[Sequence[Dispatch]], None],
        *,
        after: int,
        limit: int,
    ) -> tuple[Sequence[Dispatch], int]:
        """See `ports.Ledger`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("send_in_turn"))
            cursor.execute(query(_name(selection)), _parameters(selection, after, limit))
            rows = cursor.fetchall()
            window = [_dispatch(*row) for _, *row in rows]
            if window:
                send_and_record(cursor, window, send)
        return window, rows[-1][0] if rows else after

    def last_hour(self, service: str) -> tuple[int, float]:
        """See `ports.Ledger`."""
        names = {"service": service, "kept_as": BOX_WORKERS.get(service)}
        count, seconds = self._all(query("last_hour"), names)[0]
        return count, float(seconds)

    def versions(self, service: str) -> Sequence[str]:
        """See `ports.Ledger`."""
        return [version for (version,) in self._all(query("versions"), {"service": service})]

    def make_current(self, service: str, version: str) -> None:
        """See `ports.Ledger`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("make_current"), {"service": service, "version": version})

    def standings(self, service: str, image_ids: Sequence[int]) -> Sequence[Standing]:
        """See `ports.TellingLedger`."""
        asked = {"service": service, "image_ids": list(image_ids)}
        return [
            Standing(image_id=image_id, state=State(state), found=found, place=path or url, error=error)
            for image_id, state, found, path, url, error in self._all(query("standings"), asked)
        ]

    # --- what the queues hold -------------------------------------------------------------------------

    def begin_count(self) -> datetime:
        """See `ports.CountingLedger`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("forget_count"))
            cursor.execute(query("begin_count"))
            return server_time(cursor)

    def counted(self, service: str, jobs: Sequence[Job]) -> None:
        """See `ports.CountingLedger`."""
        rows = [(service, job.image.image_id, job.version, _part(job)) for job in jobs]
        with self._session.transaction() as cursor:
            execute_values(cursor, query("counted"), rows, page_size=_PAGE)

    def end_count(self) -> None:
        """See `ports.CountingLedger`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("end_count"))
            cursor.execute(query("analyze_count"))

    def open_services(self) -> Sequence[str]:
        """See `ports.CountingLedger`."""
        return [service for (service,) in self._all(query("open_services"), {})]

    # --- for everyone ---------------------------------------------------------------------------------

    def groups(self) -> Mapping[str, int]:
        """See `ports.Ledger`."""
        return dict(self._all(query("groups"), {}))

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def _all(self, statement: str | sql.Composable, parameters: Mapping[str, Any]) -> list[Any]:
        with self._session.transaction() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())


def _name(selection: Selection) -> str:
    """A selection's statement has the name of its class, or of that and which of them are meant."""
    name = type(selection).__name__
    special = f"{name}_{getattr(selection, 'which', '')}"
    return special if special in queries() else name


def _parameters(selection: Selection, after: int, limit: int | None) -> dict[str, Any]:
    found = {one.name: getattr(selection, one.name) for one in fields(selection)}
    lists = {name: list(value) for name, value in found.items() if isinstance(value, tuple)}
    return {**found, **lists, "after": after, "limit": limit, "elsewhere": list(INDEX_WORKERS)}


def _dispatch(
    image_id: int,
    path: str | None,
    url: str | None,
    as_is: int | None,
    version: str,
    box_key: str | None,
    bbox: Mapping[str, float] | None,
    captioner: str | None,
    caption: str | None,
    services: Sequence[str],
) -> Dispatch:
    job = Job(
        image=Image(image_id=image_id, path=path, url=url, as_is=as_is),
        box=BoxRef(key=box_key, box=Box(**bbox)) if box_key is not None and bbox else None,
        caption=Caption(service=captioner, text=caption) if captioner and caption else None,
        version=version,
    )
    return Dispatch(job=job, services=tuple(services))


def _part(job: Job) -> str:
    """What of the image a job is about: a box by its key, a caption by who said it, or all of it."""
    if job.box is not None:
        return job.box.key
    return job.caption.service if job.caption is not None else ""


def server_time(cursor: Any) -> datetime:
    """The database's clock."""
    cursor.execute(query("server_time"))
    moment: datetime = cursor.fetchone()[0]
    return moment


def send_and_record(
    cursor: Any, window: Sequence[Dispatch], send: Callable[[Sequence[Dispatch]], None]
) -> datetime:
    """Has `send` send the window, then notes it; gives the time before it was sent."""
    sent = server_time(cursor)
    send(window)
    _record(cursor, window, sent)
    return sent


def _record(cursor: Any, dispatches: Sequence[Dispatch], sent: datetime) -> None:
    """Notes each image × service as queued, unless a worker has settled it since `sent`."""
    asked, alive = _Groups(), _Groups()
    for dispatch in dispatches:
        job, services = dispatch.job, set(dispatch.services)
        asked.add(job.image.image_id, services - _UNRECORDED, job.version)
        alive.add(job.image.image_id, services, wire.encode(job) if _part(job) else None)
    for name, groups, kind in (("record_dispatches", asked, "text"), ("forget_dead", alive, "bytea")):
        if rows := [(*group, sent) for group in groups.rows()]:
            template = f"(%s::bigint[], %s::text[], %s::{kind}, %s::timestamptz)"
            execute_values(cursor, query(name), rows, template, page_size=_PAGE)


class _Groups:
    """Images by the services that they were sent to, and by a `part`. Each image × service × part once."""

    def __init__(self) -> None:
        self._services: dict[tuple[int, object], set[str]] = defaultdict(set)

    def add(self, image_id: int, services: set[str], part: object) -> None:
        self._services[image_id, part] |= services

    def rows(self) -> Iterator[tuple[list[int], list[str], object]]:
        """Images, services, part."""
        images: dict[tuple[frozenset[str], object], list[int]] = defaultdict(list)
        for (image_id, part), found in self._services.items():
            images[frozenset(found), part].append(image_id)
        for (services, part), ids in images.items():
            if services:
                yield ids, list(services), part
