"""How an image gets into a service: uploaded, by URL, or by path, each within limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from starlette.requests import Request
from starlette.types import Message, Receive

from windmill.addresses import WebAddresses
from windmill.errors import ImageError, ImageTooLargeError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.services.base import Photo
from windmill.settings import Settings

MOST_BYTES = 32_000_000
_OVERHEAD = 10_000  # bytes that a multipart body may have beside its file
_NO_IMAGE = "no image: POST it as multipart field `file`"
_WEB = WebAddresses(patience=30)  # seconds: somebody waits for the answer
_FILES = ImageFiles(Settings(max_image_mb=MOST_BYTES / 1e6, max_image_megapixels=50))


def photo(name: str, data: bytes) -> Photo:
    """The decoded, upright image. Raises `ImageError`."""
    return Photo(data=data, pixels=np.asarray(_FILES.decode(name, data)))


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


async def uploaded(request: Request) -> tuple[str, bytes]:
    """Name and bytes of the multipart field `file`. Raises `ImageError`."""
    bounded = Request(request.scope, _bounded(request.receive, MOST_BYTES + _OVERHEAD))
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        async for _ in bounded.stream():
            pass  # too large is said first
        raise ImageError(_NO_IMAGE)
    async with bounded.form(max_files=1) as form:
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise ImageError(_NO_IMAGE)
        return file.filename or "upload", await file.read()


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
