"""The table of images, as ingest fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg2.extras import execute_values

from windmill.model import NewImage
from windmill.postgres.connection import Session
from windmill.postgres.queries import query
from windmill.settings import Settings


class PostgresImages:
    """A `ports.ImageRegistry`."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def known(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `ports.ImageRegistry`."""
        with self._session.transaction() as cursor:
            cursor.execute(query("known_images"), {"hashes": list(hashes)})
            return {bytes(content): image_id for content, image_id in cursor.fetchall()}

    def add(self, images: Sequence[NewImage]) -> Mapping[bytes, int]:
        """See `ports.ImageRegistry`."""
        rows = [
            (n.filename, n.path, n.url, n.group, n.content_hash, n.width, n.height, n.as_is) for n in images
        ]
        with self._session.transaction() as cursor:
            added = execute_values(cursor, query("add_images"), rows, page_size=1000, fetch=True)
            return {bytes(content): image_id for content, image_id in added}

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()
