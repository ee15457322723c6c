"""Findings, read from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from windmill import catalog
from windmill.core import replies
from windmill.findings import Findings, FoundBox, Progress
from windmill.model import Box
from windmill.postgres.connection import Session
from windmill.postgres.queries import composed, query
from windmill.settings import Settings

CAPTIONERS = [name for name, facts in catalog.BUILT_IN.items() if "semantic" in facts.service_types]


class PostgresFindings:
    """A `ports.FindingsReader`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def progress(self) -> Progress:
        """See `ports.FindingsReader`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("run_progress"))
            settled, total, open_jobs = cursor.fetchone()
        return Progress(settled=settled, total=total, open_jobs=open_jobs)

    def of_group(self, group: str) -> Sequence[Findings]:
        """See `ports.FindingsReader`."""
        with self._session.transaction() as cursor:
            cursor.execute(
                composed("findings", images="of_group", said="said", captioner="captioner"),
                {"group": group, "captioners": CAPTIONERS},
            )
            return [found(row) for row in cursor.fetchall()]

    def embeddings(self, group: str, service: str) -> Mapping[str, Sequence[float]]:
        """File name → the vector that the newest of a service's models gave for the whole image."""
        with self._session.transaction() as cursor:
            cursor.execute(query("embeddings"), {"group": group, "service": service})
            return {name: replies.embedding(vector) for name, vector in cursor.fetchall()}

    def table(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query from the documentation."""
        with self._session.transaction() as cursor:
            cursor.execute(statement)
            return [column.name for column in cursor.description], cursor.fetchall()

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()


def found(row: Sequence[Any]) -> Findings:
    """Of a row that the query `findings` gave."""
    image_id, filename, path, width, height, votes, boxes, faces, colours, text, errors, captions, group = row
    return Findings(
        image_id=image_id,
        filename=filename,
        path=path,
        width=width,
        height=height,
        votes=tuple((emoji, label, count) for emoji, label, count in votes or ()),
        boxes=tuple(
            FoundBox(label=label, box=Box(**box), detection_count=count, score=score)
            for label, box, count, score in boxes or ()
        ),
        faces=tuple(_face(box) for box in faces or () if box),
        colours=tuple((code or "", name or "") for code, name in colours or () if code or name),
        text=text or "",
        errors=tuple(errors or ()),
        captions=tuple((service, caption) for service, caption in captions or ()),
        group=group,
    )


def _face(box: Any) -> Box:
    """A face's box, which its service gives in either form."""
    if isinstance(box, dict):
        return Box(x=box["x"], y=box["y"], width=box["width"], height=box["height"])
    x, y, width, height = box
    return Box(x=x, y=y, width=width, height=height)
