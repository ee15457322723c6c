"""A request's body: one file and texts, read within limits of size and time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from windmill.errors import ImageTooLargeError
from windmill.services.base import RequestError

MOST_BYTES = 32_000_000
_OVERHEAD = 50_000  # bytes that a multipart body may have beside its file
_UPLOADING = 60.0  # seconds that a request's body may take


class SlowUploadError(RequestError):
    """A body that trickles in, and keeps a place that others wait for: 408."""


@dataclass(frozen=True, slots=True)
class Form:
    """A request's body: at most one file, by name and bytes, and texts by field."""

    file: tuple[str, bytes] | None = None
    texts: dict[str, str] = field(default_factory=dict)


async def received(request: Request) -> Form:
    """The body. Raises `ImageTooLargeError`, `RequestError`."""
    try:
        async with asyncio.timeout(_UPLOADING):
            return await _form(request)
    except TimeoutError as exc:
        raise SlowUploadError(f"the upload took more than {_UPLOADING:g} s") from exc


async def discarded(request: Request) -> None:
    """Reads a body that nobody wants, so that its sender comes to read the answer."""
    try:
        async with asyncio.timeout(_UPLOADING):
            async for _ in Request(request.scope, _bounded(request.receive, MOST_BYTES + _OVERHEAD)).stream():
                pass
    except (TimeoutError, ClientDisconnect, ImageTooLargeError):
        return  # it has had its chance


async def _form(request: Request) -> Form:
    bounded = Request(request.scope, _bounded(request.receive, MOST_BYTES + _OVERHEAD))
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        return await _fields(bounded)
    body = await bounded.body() if kind.startswith("application/json") else await _nothing(bounded)
    return Form(texts=_json_texts(body))


async def _fields(request: Request) -> Form:
    async with request.form(max_files=1) as form:
        file = form.get("file")
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        if file is None or isinstance(file, str):
            return Form(texts=texts)
        return Form((file.filename or "upload", await file.read()), texts)


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
