"""How a request gets into a service: uploaded, by URL, or by path, each within limits."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from windmill.addresses import WebAddresses
from windmill.errors import ImageError, ImageTooLargeError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.services.base import Captioned, Photo, RequestError
from windmill.settings import Settings

MOST_BYTES = 32_000_000
_HALVES = re.compile("[\ud800-\udfff]")
_MOST_TEXT = 10_000  # characters of a caption or a query
_OVERHEAD = 50_000  # bytes that a multipart body may have beside its file
_UPLOADING = 60.0  # seconds that a request's body may take
_FETCHING = 8  # addresses read at once
_NO_IMAGE = "no image: POST it as multipart field `file`, or name it as ?url= or ?file="
_WEB = WebAddresses(patience=30)  # seconds: somebody waits for the answer
_FILES = ImageFiles(Settings(max_image_mb=MOST_BYTES / 1e6, max_image_megapixels=50))


class SlowUploadError(RequestError):
    """A body that trickles in, and keeps a place that others wait for: 408."""


@dataclass(frozen=True, slots=True)
class _Form:
    """A request's body: at most one file, by name and bytes, and texts by field."""

    file: tuple[str, bytes] | None = None
    texts: dict[str, str] = field(default_factory=dict)


class Door:
    """Reads requests; `?file=` names files under `root`, if there is one."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._fetching = anyio.CapacityLimiter(_FETCHING)

    async def received(self, request: Request, kind: type) -> Callable[[], Any]:
        """What gives the `Photo`, the `Captioned` photo or the text that a request is about.

        Raises `ImageError`, `RequestError`. Photos are decoded when it is called, by whoever has the time.
        """
        try:
            async with asyncio.timeout(_UPLOADING):
                form = await _form(request)
        except TimeoutError as exc:
            raise SlowUploadError(f"the upload took more than {_UPLOADING:g} s") from exc
        if kind is str:
            text = _text(request, form, "text")
            return lambda: text
        name, data = await self._file(request, form)
        if kind is Captioned:
            caption = _text(request, form, "caption")
            return lambda: Captioned(photo=photo(name, data), caption=caption)
        return lambda: photo(name, data)

    async def _file(self, request: Request, form: _Form) -> tuple[str, bytes]:
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


async def discarded(request: Request) -> None:
    """Reads a body that nobody wants, so that its sender comes to read the answer."""
    try:
        async with asyncio.timeout(_UPLOADING):
            async for _ in Request(request.scope, _bounded(request.receive, MOST_BYTES + _OVERHEAD)).stream():
                pass
    except (TimeoutError, ClientDisconnect, ImageTooLargeError):
        return  # it has had its chance


async def _form(request: Request) -> _Form:
    bounded = Request(request.scope, _bounded(request.receive, MOST_BYTES + _OVERHEAD))
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        return await _fields(bounded)
    body = await bounded.body() if kind.startswith("application/json") else await _nothing(bounded)
    return _Form(texts=_json_texts(body))


async def _fields(request: Request) -> _Form:
    async with request.form(max_files=1) as form:
        file = form.get("file")
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        if file is None or isinstance(file, str):
            return _Form(texts=texts)
        return _Form((file.filename or "upload", await file.read()), texts)


async def _nothing(request: Request) -> bytes:
    """A body in no form that has fields; too large is said first."""
    async for _ in request.stream():
        pass
    return b""


def _json_texts(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise RequestError(f"the body is not JSON: {type(exc).__name__}") from exc
    if not isinstance(fields, dict):
        raise RequestError("the body is JSON, but no object with fields")
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _text(request: Request, form: _Form, name: str) -> str:
    """A text field, from the body or the address. Raises `RequestError`."""
    text = form.texts.get(name, request.query_params.get(name, "")).strip()
    if not text:
        raise RequestError(f"no {name}: send it as form field `{name}`, as JSON, or as ?{name}=")
    if not text.isprintable() and _HALVES.search(text):
        raise RequestError(f"{name}: half of a surrogate pair is no text")
    if len(text) > _MOST_TEXT:
        raise RequestError(f"{name}: {len(text)} characters, more than {_MOST_TEXT}")
    return text


def _bounded(receive: Receive, most: int) -> Receive:
    """`receive` until the body has more than `most` bytes, whatever its Content-Length says or leaves out."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise ImageTooLargeError(f"the upload is larger than {MOST_BYTES / 1e6:g} MB")
        return message

    return bounded
