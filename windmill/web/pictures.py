"""Pictures as a browser gets them: of a kind that it may show, with a name for what is in them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from windmill.errors import ImageError

SIZES = (200, 400, 800, 1600)  # pixels of the longer side; no others, or anybody could fill the shelf
_KEPT = 64_000_000  # bytes of small pictures

# How the files begin that a browser shows; nothing else is handed out, whatever lies at an image's path.
_KINDS = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True, slots=True)
class Picture:
    """A file, its media type, and its ETag."""

    data: bytes
    kind: str
    etag: str

    @classmethod
    def of(cls, data: bytes, kind: str) -> Picture:
        return cls(data, kind, f'"{hashlib.sha256(data).hexdigest()[:24]}"')


def told_kind(data: bytes) -> str:
    """The media type of an image file. Raises `ImageError`."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), None)
    if kind is None:
        raise ImageError("what lies there now is no image that a browser shows")
    return kind


def size_for(wanted: int) -> int:
    """The smallest of `SIZES` that is no smaller, or the largest."""
    return next((size for size in SIZES if size >= wanted), SIZES[-1])


class Shelf:
    """Small pictures that were asked for lately, as many as find room. Thread-safe."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most, self._held = most, 0
        self._pictures: OrderedDict[tuple[int, int], Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, image_id: int, longest: int | None, make: Callable[[], Picture]) -> Picture:
        """The picture; originals (`longest` is None) are not kept."""
        if longest is None:
            return make()
        key = (image_id, longest)
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
                return self._pictures[key]
        made = make()
        self._keep(key, made)
        return made

    def drop(self, image_id: int) -> None:
        """Forgets an image's pictures."""
        with self._lock:
            for size in SIZES:
                gone = self._pictures.pop((image_id, size), None)
                self._held -= len(gone.data) if gone else 0

    def _keep(self, key: tuple[int, int], picture: Picture) -> None:
        with self._lock:
            before = self._pictures.pop(key, None)  # two asked at once
            self._held += len(picture.data) - (len(before.data) if before else 0)
            self._pictures[key] = picture
            while self._held > self._most:
                self._held -= len(self._pictures.popitem(last=False)[1].data)
