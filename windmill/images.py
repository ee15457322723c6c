"""Image files: read, checked, turned upright, cropped. What is in them is decoded elsewhere (`decoding`)."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image as Pictures

from windmill.addresses import WebAddresses
from windmill.core.urls import shown
from windmill.decoding.frames import Reply, Request, Task
from windmill.decoding.jpeg import jpeg
from windmill.decoding.pool import Decoders, shared
from windmill.errors import ImageError
from windmill.files import read_file, sized
from windmill.model import Image, Measured
from windmill.plain import line
from windmill.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

_KEPT = 4  # decoded images that a worker keeps: the boxes of one image come one after another
_STRIPES = 16
# What a decoder may take at most; measured: docs/adr/0010-decoders-are-processes.md
_BASE_MEMORY = 200_000_000
_FILE_MEMORY = 4  # bytes for each byte of the file
_PIXEL_MEMORY = 24  # bytes for each pixel that an image may have
_BASE_SECONDS = 30.0  # and one more for each megapixel that an image may have


class ImageFiles:
    """A `ports.ImageSource` over files and URLs. Thread-safe."""

    def __init__(self, settings: Settings, decoders: Decoders | None = None) -> None:
        self._decoders = decoders or shared()
        self._most_bytes = int(settings.max_image_mb * 1_000_000)
        self._roots = settings.image_roots
        self._web = WebAddresses(settings.allow_private_urls)
        self._most_pixels = int(settings.max_image_megapixels * 1_000_000)
        self._decoded: OrderedDict[int, Pictures.Image] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = tuple(threading.Lock() for _ in range(_STRIPES))

    def read(self, image: Image) -> bytes:
        """The file as it is. Raises `ImageError`."""
        if image.path is not None:
            return read_file(Path(image.path), self._most_bytes, self._roots)
        return sized(_name(image), self._web.read(str(image.url), self._most_bytes), self._most_bytes)

    def upright(self, image: Image) -> bytes:
        """See `ports.ImageSource`: the file itself unless it lies on its side or few can read it."""
        data = self.read(image)
        if len(data) == image.as_is:
            return data
        if image.path is not None and image.as_is:
            sizes = f"{len(data):,} bytes, not {image.as_is:,}"
            log.warning("%s is no longer the file that was ingested: %s", line(image.path), sizes)
        return self.prepared(_name(image), data)

    def crop(self, image: Image, left: int, top: int, right: int, bottom: int) -> bytes:
        """See `ports.ImageSource`."""
        picture = self._picture(image)
        bounds = (max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom))
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            size = f"{picture.width}×{picture.height}"
            raise ImageError(
                f"{_name(image)}: box {left, top, right, bottom} lies outside of its {size} pixels"
            )
        return jpeg(picture.crop(bounds))

    def decode(self, name: str, data: bytes) -> Pictures.Image:
        """The picture upright and in RGB. Raises `ImageError`."""
        found = self._ask(Task.DECODE, name, sized(name, data, self._most_bytes))
        return Pictures.frombuffer("RGB", (found.width, found.height), found.data, "raw", "RGB", 0, 1)

    def pixels(self, name: str, data: bytes) -> npt.NDArray[np.uint8]:
        """The same as height × width × RGB, without the way through a picture. Raises `ImageError`."""
        import numpy as np  # most workers do without

        found = self._ask(Task.DECODE, name, sized(name, data, self._most_bytes))
        return np.frombuffer(found.data, np.uint8).reshape(found.height, found.width, 3)

    def prepared(self, name: str, data: bytes) -> bytes:
        """The file as services should see it: see `upright`. Raises `ImageError`."""
        return bytes(self._ask(Task.UPRIGHT, name, data).data) or data

    def inspect(self, name: str, data: bytes) -> Measured:
        """What the file is. Raises `ImageError`."""
        found = self._ask(Task.INSPECT, name, data)
        return Measured(width=found.width, height=found.height, as_is=found.as_is)

    def small(self, image: Image, longest: int) -> bytes:
        """An upright JPEG whose longer side has at most `longest` pixels. Raises `ImageError`."""
        return bytes(self._ask(Task.SMALL, _name(image), self.read(image), longest).data)

    def _picture(self, image: Image) -> Pictures.Image:
        """Decoded, upright, in RGB; threads that want the same image wait for the one that decodes it."""
        with self._turns[image.image_id % _STRIPES]:
            picture = self._remembered(image.image_id)
            if picture is None:
                picture = self.decode(_name(image), self.read(image))
                self._remember(image.image_id, picture)
            return picture

    def _remembered(self, image_id: int) -> Pictures.Image | None:
        with self._lock:
            if image_id in self._decoded:
                self._decoded.move_to_end(image_id)
            return self._decoded.get(image_id)

    def _remember(self, image_id: int, picture: Pictures.Image) -> None:
        """Keeps a few, which together are no larger than one image may be."""
        with self._lock:
            self._decoded[image_id] = picture
            while len(self._decoded) > 1 and (len(self._decoded) > _KEPT or self._pixels > self._most_pixels):
                self._decoded.popitem(last=False)

    @property
    def _pixels(self) -> int:
        return sum(one.width * one.height for one in self._decoded.values())

    def _ask(self, task: Task, name: str, data: bytes, longest: int = 0) -> Reply:
        megapixels = self._most_pixels / 1e6
        request = Request(
            task=task,
            data=data,
            pixels=self._most_pixels,
            memory=_BASE_MEMORY + _FILE_MEMORY * len(data) + _PIXEL_MEMORY * self._most_pixels,
            seconds=_BASE_SECONDS + megapixels,
            longest=longest,
        )
        return self._decoders.ask(name, request)


def _name(image: Image) -> str:
    return image.path or shown(str(image.url))
