"""What the web app shows and does, without HTTP: searches, images with what was found in them, pictures.

All of it blocks, and is called by several threads at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from windmill.core.fields import FIELDS
from windmill.core.where import Condition
from windmill.errors import ConfigError, StoreError
from windmill.findings import Findings
from windmill.index import answers
from windmill.index.searching import Known, Query, Searcher
from windmill.index.vectors import Ids, Vectors
from windmill.model import Image
from windmill.web.pictures import Picture, Shelf, told_kind

log = logging.getLogger(__name__)

_SAMPLE = 500  # images that examples of conditions are taken from
_EXAMPLES = 12  # of each kind
_SHOWN = 24  # images that are there before anybody searches
_FRESH = 300.0  # seconds that an overview's examples stay
_PART = 1_000  # ids that are looked up at once

Entries = list[dict[str, Any]]


class Unknown(ConfigError):
    """An image that is not in the index: 404."""


class Pictures(Protocol):
    """Image files, decoded elsewhere (`windmill.images.ImageFiles`). All raise `ImageError`."""

    def prepared(self, name: str, data: bytes) -> bytes:
        """The file as services should see it."""
        ...

    def upright(self, image: Image) -> bytes:
        """The same, of an image where it lies."""
        ...

    def small(self, image: Image, longest: int) -> bytes:
        """A JPEG whose longer side has at most so many pixels."""
        ...


@dataclass(frozen=True, slots=True)
class _Examples:
    """What there is to ask for, and some images, as of a while ago."""

    votes: Entries
    groups: Entries
    images: Entries


class Library:
    """An index, and what is known of its images: nothing, where `known` is None.

    `reads_words`: whether the index can be asked by words.
    """

    def __init__(
        self, searcher: Searcher, files: Pictures, known: Known | None, *, reads_words: bool = True
    ) -> None:
        self._searcher, self._store, self._files = searcher, searcher.store, files
        self._known, self._reads_words = known, reads_words
        self._shelf = Shelf()
        self._examples: _Examples | None = None
        self._as_of = 0.0  # by the monotonic clock
        self._lock = threading.Lock()

    def search(self, query: Query, where: str = "") -> dict[str, Any]:
        """The answer as JSON. Raises `ConfigError`, `ImageError`, `ServiceError`, `StoreError`."""
        if query.image is not None:  # before it has the model to itself, which others wait for
            self._files.prepared(*query.image)
        answer = self._searcher(query)
        ids = np.array(sorted(hit.image_id for hit in answer.hits), np.int64)
        return answers.document(query, answers.Told(answer, self._found(ids)), where)

    def meeting(self, where: Condition, most: int) -> dict[str, Any]:
        """Images that meet a condition, by their ids, and how many do. Raises `ConfigError`, `StoreError`."""
        if self._known is None:
            raise ConfigError("conditions ask the database, and this server has none")
        ids = self._known.matching(where, self._store.numbering)
        return {"matching": len(ids), "images": self._first(ids, most)}

    def image(self, image_id: int) -> dict[str, Any]:
        """All that is known of an image. Raises `Unknown`, `StoreError`."""
        return self._entries(self._held(image_id))[0]

    def picture(self, image_id: int, longest: int | None) -> Picture:
        """The file, upright; or small, as a JPEG. Raises `Unknown`, `ImageError`, `StoreError`."""
        path = self._held(image_id).paths[0]  # another process may have taken it out since it was made
        return self._shelf.get(image_id, longest, lambda: self._made(image_id, path, longest))

    def forget(self, image_id: int) -> None:
        """Takes an image out of the index. Raises `Unknown`, `StoreError`."""
        self._store.delete(self._held(image_id).ids)
        self._shelf.drop(image_id)
        self._examples = None

    def count(self) -> int:
        """How many images there are. Raises `StoreError`."""
        return self._store.count()

    def overview(self) -> dict[str, Any]:
        """What the index is, and what can be asked. Raises `StoreError`."""
        examples = self._fresh()
        return {
            "images": self.count(),
            "embedder": asdict(self._store.embedder),
            "reads_words": self._reads_words,
            "conditions": self._known is not None,
            "votes": examples.votes,
            "groups": examples.groups,
            "fields": [
                {"name": name, "about": field.about, "examples": field.examples}
                for name, field in FIELDS.items()
            ],
            "examples": examples.images,
        }

    def _held(self, image_id: int) -> Vectors:
        found = self._store.fetch(np.array([image_id], np.int64))
        if not len(found):
            raise Unknown(f"image {image_id} is not in the index")
        return found

    def _found(self, ids: Ids) -> Mapping[int, Findings]:
        """Nothing where the database is away: what was asked for is there all the same."""
        if self._known is None or not len(ids):
            return {}
        try:
            return self._known.of(ids, self._store.numbering)
        except StoreError as exc:
            log.warning("what was found in images is left out: %s", exc)
            return {}

    def _first(self, ids: Ids, most: int) -> Entries:
        """The first of these that are in the index."""
        entries: Entries = []
        for start in range(0, len(ids), _PART):
            held = self._store.fetch(ids[start : start + _PART])
            entries += self._entries(held, most - len(entries))
            if len(entries) == most:
                break
        return entries

    def _entries(self, held: Vectors, most: int = _PART) -> Entries:
        found = self._found(held.ids[:most])
        return [
            {
                "image_id": image_id,
                "path": path,
                "file": answers.file_of(image_id),
                "found": asdict(found[image_id]) if image_id in found else None,
            }
            for image_id, path in zip(held.ids[:most].tolist(), held.paths, strict=False)
        ]

    def _made(self, image_id: int, path: str, longest: int | None) -> Picture:
        at_address = "://" in path
        image = Image(image_id=image_id, path=None if at_address else path, url=path if at_address else None)
        data = self._files.upright(image) if longest is None else self._files.small(image, longest)
        return Picture.of(data, told_kind(data))

    def _fresh(self) -> _Examples:
        with self._lock:  # whoever comes meanwhile needs the same
            if self._examples is None or time.monotonic() - self._as_of > _FRESH:
                self._examples, self._as_of = self._looked(), time.monotonic()
            return self._examples

    def _looked(self) -> _Examples:
        """From a look at the first images: enough to show how one asks."""
        first = next(self._store.scan(), None)
        if first is None:
            return _Examples([], [], [])
        some = self._store.fetch(_spread(first.ids, _SAMPLE))
        found = self._found(some.ids).values()
        votes = Counter((emoji, label) for one in found for emoji, label, _ in one.votes)
        groups = Counter(one.group for one in found if one.group)
        return _Examples(
            votes=[
                {"emoji": emoji, "label": label, "images": count}
                for (emoji, label), count in votes.most_common(_EXAMPLES)
            ],
            groups=[{"group": group, "images": count} for group, count in groups.most_common(_EXAMPLES)],
            images=self._entries(self._store.fetch(_spread(some.ids, _SHOWN))),
        )


def _spread(ids: Ids, most: int) -> Ids:
    """Up to `most` of them, from all over."""
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).round().astype(np.int64))]
