"""How an image gets into a service: uploaded, by URL, or by path, each within limits."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from windmill.errors import ImageError
from windmill.images import ImageFiles, read_file, read_url
from windmill.services.base import Photo
from windmill.settings import Settings

MOST_BYTES = 32_000_000
_FILES = ImageFiles(Settings(max_image_mb=MOST_BYTES / 1e6, max_image_megapixels=50))


def photo(name: str, data: bytes) -> Photo:
    """The decoded, upright image. Raises `ImageError`."""
    return Photo(data=data, pixels=np.asarray(_FILES.decode(name, data)))


def from_url(url: str) -> bytes:
    """The bytes at a public http or https address. Raises `ImageError`.

    Addresses that only this machine or its network can reach are refused: whoever may call the service
    must not see through its eyes.
    """
    host = urlsplit(url).hostname
    if not host:
        raise ImageError(f"{url}: expected http:// or https:// and a host")
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as exc:
        raise ImageError(f"{url}: no such host") from exc
    if not all(ipaddress.ip_address(str(address)).is_global for address in addresses):
        raise ImageError(f"{url}: a private address; upload the file instead")
    return read_url(url, MOST_BYTES, redirects=False)


def from_path(text: str, root: Path | None) -> bytes:
    """The bytes of a file under `root`, links resolved. Raises `ImageError`."""
    if root is None:
        raise ImageError("?file= is off here; start the service with --file-root DIR, or upload the file")
    path = (root / text).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ImageError(f"{text}: not under the service's --file-root")
    return read_file(path, MOST_BYTES)
