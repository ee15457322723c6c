"""What the web app shows and does, without HTTP: searches, images with what was found in them, pictures.

All of it blocks, and is called by several threads at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from windmill.core.fields import FIELDS
from windmill.errors import ConfigError
from windmill.findings import Findings
from windmill.index import answers
from windmill.index.searching import Query, Searcher
from windmill.index.vectors import Ids, Vectors
from windmill.model import Image, Numbering
from windmill.web.pictures import Picture, Shelf, told_kind

_SAMPLE = 500  # images that examples of conditions are taken from
_EXAMPLES = 12  # of each kind
_SHOWN = 24  # images that are there before anybody searches
_FRESH = 300.0  # seconds that an overview's examples stay


class Unknown(ConfigError):
    """An image that is not in the index: 404."""


class Details(Protocol):
    """What the database knows of images."""

    def of(self, ids: Ids, numbering: Numbering) -> Mapping[int, Findings]:
        """What was found in these images; those that are not in the database are left out."""
        ...

    def image(self, image_id: int, numbering: Numbering) -> Image:
        """Where an image's bytes are. Raises `ConfigError` for one that is not in the database."""
        ...


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

    votes: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    images: list[dict[str, Any]]


class Library:
    """An index, and what is known of its images. `details` is None where there is no database.

    `reads_words`: whether the index can be asked by words.
    """

    def __init__(
        self,
        searcher: Searcher,
        files: Pictures,
        *,
        details: Details | None = None,
        reads_words: bool = True,
    ) -> None:
        self._searcher, self._store, self._files = searcher, searcher.store, files
        self._details, self._reads_words = details, reads_words
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

    def image(self, image_id: int) -> dict[str, Any]:
        """All that is known of an image. Raises `Unknown`, `StoreError`."""
        return self._entries(self._held(image_id))[0]

    def picture(self, image_id: int, longest: int | None) -> Picture:
        """The file, upright; or small, as a JPEG. Raises `Unknown`, `ImageError`, `StoreError`."""
        return self._shelf.get(image_id, longest, lambda: self._made(image_id, longest))

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
            "conditions": self._details is not None,
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
        return self._details.of(ids, self._store.numbering) if self._details and len(ids) else {}

    def _entries(self, held: Vectors) -> list[dict[str, Any]]:
        found = self._found(held.ids)
        return [
            {
                "image_id": image_id,
                "path": path,
                "file": answers.file_of(image_id),
                "found": asdict(found[image_id]) if image_id in found else None,
            }
            for image_id, path in zip(held.ids.tolist(), held.paths, strict=True)
        ]

    def _made(self, image_id: int, longest: int | None) -> Picture:
        image = self._image(image_id, self._held(image_id).paths[0])
        data = self._files.upright(image) if longest is None else self._files.small(image, longest)
        return Picture.of(data, told_kind(data))

    def _image(self, image_id: int, path: str) -> Image:
        """Where it is: as the database says, or the index, where there is none."""
        if self._details is not None:
            try:
                return self._details.image(image_id, self._store.numbering)
            except ConfigError as exc:
                raise Unknown(f"image {image_id} is indexed, but not in the database") from exc
        if path.startswith(("http://", "https://")):
            return Image(image_id=image_id, url=path)
        return Image(image_id=image_id, path=path)

    def _fresh(self) -> _Examples:
        with self._lock:  # whoever comes meanwhile needs the same
            if self._examples is None or time.monotonic() - self._as_of > _FRESH:
                self._examples, self._as_of = self._looked(), time.monotonic()
            return self._examples

    def _looked(self) -> _Examples:
        """From a look at the first images: enough to show how one asks."""
        first = next(iter(self._store.scan()), None)
        if first is None:
            return _Examples([], [], [])
        step = max(1, len(first) // _SAMPLE)
        some = self._store.fetch(first.ids[::step][:_SAMPLE])
        found = self._found(some.ids)
        votes = Counter((emoji, label) for one in found.values() for emoji, label, _ in one.votes)
        spread = some.ids[:: max(1, len(some) // _SHOWN)][:_SHOWN]
        return _Examples(
            votes=[
                {"emoji": emoji, "label": label, "images": count}
                for (emoji, label), count in votes.most_common(_EXAMPLES)
            ],
            groups=[],
            images=self._entries(self._store.fetch(spread)),
        )
