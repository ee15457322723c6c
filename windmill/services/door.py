"""How a request gets into a service: uploaded, by URL, or by path, each within limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request

from windmill.addresses import WebAddresses
from windmill.errors import ImageError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.services import uploads
from windmill.services.base import Captioned, Photo, RequestError
from windmill.services.uploads import MOST_BYTES, Form
from windmill.settings import Settings

_HALVES = re.compile("[\ud800-\udfff]")
_MOST_TEXT = 10_000  # characters of a caption or a query
_FETCHING = 8  # addresses read at once
_NO_IMAGE = "no image: POST it as multipart field `file`, or name it as ?url= or ?file="
_WEB = WebAddresses(patience=30)  # seconds: somebody waits for the answer
_FILES = ImageFiles(Settings(max_image_mb=MOST_BYTES / 1e6, max_image_megapixels=50))


class Door:
    """Reads requests; `?file=` names files under `root`, if there is one."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._fetching = anyio.CapacityLimiter(_FETCHING)

    async def received(self, request: Request, kind: type) -> Callable[[], Any]:
        """What gives the `Photo`, the `Captioned` photo or the text that a request is about.

        Raises `ImageError`, `RequestError`. Photos are decoded when it is called, by whoever has the time.
        """
        form = await uploads.received(request)
        if kind is str:
            text = _text(request, form, "text")
            return lambda: text
        name, data = await self._file(request, form)
        if kind is Captioned:
            caption = _text(request, form, "caption")
            return lambda: Captioned(photo=photo(name, data), caption=caption)
        return lambda: photo(name, data)

    async def _file(self, request: Request, form: Form) -> tuple[str, bytes]:
        """The image's name and bytes, by whichever of the three ways it came."""
        if "url" in request.query_params:
            url = request.query_params["url"]
            return url, await anyio.to_thread.run_sync(from_url, url, limiter=self._fetching)
        if "file" in request.query_params:
            path = request.query_params["file"]
            return path, await anyio.to_thread.run_sync(from_path, path, self._root)
        if form.file is None:
            raise ImageError(_NO_IMAGE)
        return form.file


def photo(name: str, data: bytes) -> Photo:
    """The decoded, upright image. Raises `ImageError`."""
    return Photo(data=data, pixels=_FILES.pixels(name, data))


def from_url(url: str) -> bytes:
    """The bytes at a public http or https address. Raises `ImageError`."""
    return _WEB.read(url, MOST_BYTES)


def from_path(text: str, root: Path | None) -> bytes:
    """The bytes of a file under `root`, links resolved. Raises `ImageError`."""
    if root is None:
        raise ImageError("?file= is off here; start the service with --file-root DIR, or upload the file")
    try:
        path = (root / text).resolve()
        inside, readable = path.is_relative_to(root.resolve()), path.is_file()  # a pipe is read for ever
    except (OSError, RuntimeError, ValueError) as exc:  # links in a circle, or what no file can be called
        raise ImageError(f"{text[:100]!r}: not a path: {type(exc).__name__}") from exc
    if not inside:
        raise ImageError(f"{text}: not under the service's --file-root")
    if not readable:
        raise ImageError(f"{text}: no such file on the service's machine")
    return read_file(path, MOST_BYTES)


def _text(request: Request, form: Form, name: str) -> str:
    """A text field, from the body or the address. Raises `RequestError`."""
    text = form.texts.get(name, request.query_params.get(name, "")).strip()
    if not text:
        raise RequestError(f"no {name}: send it as form field `{name}`, as JSON, or as ?{name}=")
    if not text.isprintable() and _HALVES.search(text):
        raise RequestError(f"{name}: half of a surrogate pair is no text")
    if len(text) > _MOST_TEXT:
        raise RequestError(f"{name}: {len(text)} characters, more than {_MOST_TEXT}")
    return text
