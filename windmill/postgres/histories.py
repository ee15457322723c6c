"""The history of one image, from all tables that speak of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from windmill.core.classes import PERSON
from windmill.errors import ConfigError
from windmill.explaining import Case
from windmill.history import Asked, History, Looked, Made
from windmill.postgres.connection import Session
from windmill.postgres.queries import query
from windmill.postgres.snapshots import snapshots
from windmill.settings import Settings

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")  # whatever is longer is no bigint


class PostgresHistories:
    """A `ports.Histories`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def find(self, name: str) -> Sequence[int]:
        """See `ports.Histories`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("images_called"), {"name": name, "number": _number(name)})
            return [image_id for (image_id,) in cursor.fetchall()]

    def of(self, image_id: int) -> History:
        """See `ports.Histories`."""
        with self._session.transaction() as cursor:
            return _history(cursor, image_id)

    def case(self, image_id: int) -> Case:
        """See `ports.Histories`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("as_of_one_moment"))
            history = _history(cursor, image_id)
            (snapshot,) = snapshots(cursor, [image_id])
            return Case(history=history, snapshot=snapshot)

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()


def _history(cursor: Any, image_id: int) -> History:
    image = _rows(cursor, "history_image", image_id)
    if not image:
        raise ConfigError(f"image {image_id} is not in the database")
    boxes, people = _rows(cursor, "history_boxes", image_id)[0]
    _, filename, path, url, group, width, height, admitted = image[0]
    return History(
        image_id=image_id,
        filename=filename,
        path=path,
        url=url,
        group=group,
        width=width,
        height=height,
        admitted=admitted,
        asked=tuple(_asked(*row) for row in _rows(cursor, "history_dispatches", image_id)),
        replies=tuple(
            (service, tuple(types or ()), time)
            for service, types, time in _rows(cursor, "history_replies", image_id)
        ),
        texts=tuple(service for (service,) in _rows(cursor, "history_texts", image_id)),
        made=tuple(_made(*row) for row in _rows(cursor, "history_stages", image_id)),
        boxes=boxes,
        people=people,
        parked=dict(_rows(cursor, "history_parked", image_id)),
        looked=tuple(_looked(*row) for row in _rows(cursor, "history_postprocessing", image_id)),
    )


def _number(name: str) -> int | None:
    """The image's number that `name` is; None where it is none, or is not written like one."""
    return int(name) if _NUMBER.fullmatch(name) else None


def _rows(cursor: Any, name: str, image_id: int) -> list[Any]:
    cursor.execute(query(name), {"image_id": image_id, "person": PERSON})
    return list(cursor.fetchall())


def _asked(*row: Any) -> Asked:
    names = ("service", "version", "state", "found", "attempts", "error_class", "error", "worker_id",
             "dispatched_at", "settled_at", "answered")  # fmt: skip
    return Asked(**dict(zip(names, row, strict=True)))


def _made(*row: Any) -> Made:
    names = ("stage", "seen", "found", "rule", "made_at", "worker_id", "changed")
    return Made(**dict(zip(names, row, strict=True)))


def _looked(*row: Any) -> Looked:
    names = ("service", "done", "failed", "latest", "worker_id", "error")
    return Looked(**dict(zip(names, row, strict=True)))
