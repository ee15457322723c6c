"""Downloads that go on where they broke off: in this process, or in the next after a kill -9.

What has come lies in a `.part` file, and beside it what it is a part of. A server is asked for the rest only
(Range, RFC 9110 §14) unless the file changed there meanwhile (If-Range, §13.1.5). Own code, since neither
pip, npm nor huggingface_hub go on after they were killed (docs/adr/0015-one-downloader.md).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from windmill.errors import ConfigError
from windmill.progress import Meter, meter
from windmill.services.weights.cache import disk

log = logging.getLogger(__name__)

_TRIES = 4  # in a row that bring nothing new
_PAUSE = 1.0  # seconds before the second try; doubled before each further one
_CHUNK = 1 << 18  # bytes
_TIMEOUT = urllib3.Timeout(connect=15, read=60)
_REDIRECTS = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=10)
_PASSES = (408, 425, 429)  # and all from 500: ask again


class DownloadError(ConfigError):
    """A file cannot be had; `refused`: not by us (401, 403, 407, a certificate, or nothing came at all)."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Digest:
    """A hexadecimal digest; `git` is SHA-1 over a header with the size and the data, as git names files."""

    algorithm: str
    value: str

    def of(self, path: Path) -> str:
        """The same digest of a file."""
        with path.open("rb") as file:
            if self.algorithm != "git":
                return hashlib.file_digest(file, self.algorithm).hexdigest()
            blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            while data := file.read(_CHUNK):
                blob.update(data)
            return blob.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file at an address: its digest and size, where they are known before it comes."""

    url: str
    digest: Digest | None = None
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a token

    @property
    def name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2]


class _Broken(Exception):
    """The connection broke, or the server is not well: it may go on later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What a `.part` is a part of."""

    url: str
    digest: str | None
    etag: str | None = None
    total: int | None = None


class _Part:
    """The file that grows."""

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._notes = target.with_name(f"{target.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def about(self) -> _About | None:
        """None: there is nothing to go on with."""
        if not (self.size and self._notes.is_file()):
            return None
        try:
            return _About(**json.loads(self._notes.read_text("utf-8")))
        except (ValueError, TypeError):  # killed while it was written
            return None

    def begin(self, about: _About) -> None:
        self.clear()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self._notes.write_text(json.dumps(asdict(about)), "utf-8")

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._notes.unlink(missing_ok=True)


def download(wanted: Wanted, target: Path) -> None:
    """Brings a file to `target`, and checks its size and digest before it is called that.

    Raises `DownloadError`; what has come so far stays for the next time, unless it is not what was wanted.
    """
    part = _Part(target)
    with disk():
        if wanted.digest and target.is_file() and wanted.digest.of(target) == wanted.digest.value:
            return
        resumed = part.about() is not None
        _complete(wanted, part)
        problem = _problem(wanted, part)
        if problem and resumed:
            log.warning("%s: %s; it was put together from two downloads: once more", wanted.name, problem)
            part.clear()
            _complete(wanted, part)
            problem = _problem(wanted, part)
        if problem:
            part.clear()
            raise DownloadError(f"{wanted.url}: {problem}; what came is deleted")
        part.finish(target)


def _problem(wanted: Wanted, part: _Part) -> str | None:
    if wanted.size is not None and part.size != wanted.size:
        return f"{part.size:,} bytes came, expected {wanted.size:,}"
    if wanted.digest and (seen := wanted.digest.of(part.path)) != wanted.digest.value:
        return f"{wanted.digest.algorithm} is {seen}, expected {wanted.digest.value}"
    return None


def _complete(wanted: Wanted, part: _Part) -> None:
    """All of it, however often it takes while something new comes."""
    here = part.size if _continues(wanted, part) else 0
    total = wanted.size and _mb(wanted.size - here)
    if here:
        log.info("%s: %d MB are here already", wanted.name, _mb(here))
    most, failures = here, 0
    with meter(wanted.name, "MB", total) as progress:
        while True:
            try:
                return _transfer(wanted, part, progress, here)
            except _Broken as exc:
                failures = 1 if part.size > most else failures + 1
                most = max(most, part.size)
                if failures >= _TRIES:
                    raise DownloadError(f"{wanted.url}: {exc}", refused=most == 0) from exc
                pause = _PAUSE * 2 ** (failures - 1)
                log.warning("%s: %s; again in %.0f s", wanted.name, exc, pause)
                time.sleep(pause)


def _continues(wanted: Wanted, part: _Part) -> bool:
    """Whether what is there can be told from a part of another file: by ETag, or afterwards by digest."""
    about = part.about()
    if about is None or about.digest != (wanted.digest and wanted.digest.value):
        return False
    return wanted.digest is not None or (about.url == wanted.url and about.etag is not None)


def _transfer(wanted: Wanted, part: _Part, progress: Meter, here: int) -> None:
    """One request. Raises `_Broken` or `DownloadError`."""
    about = part.about() if _continues(wanted, part) else None
    if about and part.size == about.total:
        return
    headers = {"Accept-Encoding": "identity", **wanted.headers}
    if about:
        headers["Range"] = f"bytes={part.size}-"
        headers |= {"If-Range": about.etag} if about.etag else {}
    with _reply(wanted.url, headers) as reply:
        total = _agreed(wanted, part, about, reply)
        _check_room(part, total)
        with part.path.open("ab") as file:
            _copy(reply, file, progress, here, total)
    if total is not None and part.size != total:
        raise _Broken(f"broke off after {part.size:,} of {total:,} bytes")


def _agreed(wanted: Wanted, part: _Part, about: _About | None, reply: urllib3.BaseHTTPResponse) -> int | None:
    """The whole file's size, if it is told; the part holds what the reply goes on with."""
    etag = reply.headers.get("ETag")
    if reply.status == 206 and about:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
        same = match and int(match[1]) == part.size and match[2] in ("*", str(about.total))
        if same and (about.etag is None or etag in (None, about.etag)):
            return about.total
    if reply.status != 200:
        part.clear()  # another file by now, or a range that makes no sense
        raise _Broken(f"the rest does not fit (HTTP {reply.status})")
    length = reply.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if None not in (total, wanted.size) and total != wanted.size:
        raise DownloadError(f"{wanted.url}: would be {total:,} bytes, expected {wanted.size:,}")
    strong = etag if etag and not etag.startswith("W/") else None
    digest = wanted.digest.value if wanted.digest else None
    part.begin(_About(url=wanted.url, digest=digest, etag=strong, total=total))
    return total


def _copy(
    reply: urllib3.BaseHTTPResponse, file: IO[bytes], progress: Meter, here: int, total: int | None
) -> None:
    left = None if total is None else _mb(total - here)
    try:
        for data in reply.stream(_CHUNK, decode_content=False):
            file.write(data)
            progress.update(max(0, _mb(file.tell() - here)), left)
    except HTTPError as exc:
        raise _Broken(_reason(exc)) from exc


@contextmanager
def _reply(url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
    """An answer that has the file or its rest (200, 206), or that a range makes no sense (416)."""
    try:
        reply = _pool(url).request(
            "GET", url, headers=headers, preload_content=False, timeout=_TIMEOUT, retries=_REDIRECTS
        )
    except HTTPError as exc:
        if isinstance(getattr(exc, "reason", exc), SSLError):
            raise DownloadError(f"{url}: {_reason(exc)}", refused=True) from exc
        raise _Broken(_reason(exc)) from exc
    try:
        if reply.status in _PASSES or reply.status >= 500:
            raise _Broken(f"HTTP {reply.status}")
        if reply.status not in (200, 206, 416):
            raise DownloadError(f"{url}: HTTP {reply.status}", refused=reply.status in (401, 403, 407))
        yield reply
    finally:
        reply.close()


def _pool(url: str) -> urllib3.PoolManager:
    """Through the proxy that the environment names, if it names one."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if proxy is None or urllib.request.proxy_bypass(address.hostname or ""):
        return urllib3.PoolManager()
    auth = urlsplit(proxy)
    known = f"{unquote(auth.username)}:{unquote(auth.password or '')}" if auth.username else None
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=known))


def _reason(exc: Exception) -> str:
    """The cause under urllib3's wrappings, without its pool's name."""
    cause = getattr(exc, "reason", None) or exc
    said = cause.args[0] if len(cause.args) == 2 and isinstance(cause.args[0], str) else str(cause)
    return re.sub(r"^<?\w+(Pool|Connection)\(.*?\)>?: ", "", said)


def _check_room(part: _Part, total: int | None) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - part.size > free:
        missing = f"{_mb(total - part.size):,} MB are to come, {_mb(free):,} MB are free"
        raise DownloadError(f"{part.path.parent}: no room: {missing}")


def _mb(size: int) -> int:
    return round(size / 1e6)
