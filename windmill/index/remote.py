"""A search that a Windmill elsewhere does (`windmill web`): nothing here but HTTP, no model and no index."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Late

from windmill.core import strict_json
from windmill.core.urls import shown
from windmill.errors import ConfigError, ImageError, ServiceUnavailable
from windmill.index import answers
from windmill.index.answers import Told
from windmill.index.searching import Query
from windmill.plain import line

SEARCH, SEARCH_IMAGE = "/api/search", "/api/search/image"
_CONNECTING, _PATIENCE = 5.0, 60.0  # seconds: to a connection; to an answer's last byte
_MOST = 2**26  # bytes of an answer: 10,000 hits with all that was found in them
_CHUNK = 2**16
_NO_TOKEN = 401


class RemoteIndex:
    """The index of the server at `url`; `token` is "" where it asks for none.

    Raises `ConfigError` for what is no address, and from every call for what the server refuses or for one
    that is no Windmill; `ServiceUnavailable` where none answers.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._url, self._shown = _address(url), shown(url)
        self._headers = {"User-Agent": "windmill-images"}
        if token:
            if not (token.isascii() and token.isprintable()):
                raise ConfigError("WEB_TOKEN: a token is of printable ASCII characters, on one line")
            self._headers["Authorization"] = f"Bearer {token}"
        self._pool = urllib3.PoolManager(maxsize=1, retries=False)

    def search(self, query: Query, where: str = "") -> Told:
        """The answer to a query, whose condition is `where` (as it is written)."""
        asked = _fields(query, where)
        if query.image is None:
            response, body = self._asked("GET", SEARCH, fields=asked)
        else:
            file = (query.image[0], query.image[1], "application/octet-stream")
            response, body = self._asked("POST", SEARCH_IMAGE, fields={**asked, "file": file})
        try:
            if response.status != 200:
                raise self._refusal(response.status, body)
            return answers.parse(strict_json.loads(body))
        except ValueError as exc:
            raise self._stranger(line(exc, 200)) from exc

    def file(self, image_id: int, most: int) -> bytes:
        """The file of an image, of at most `most` bytes. Raises `ImageError` where the server has none."""
        response, body = self._asked("GET", answers.file_of(image_id), most=most)
        if response.status == 404:
            raise ImageError(f"image {image_id}: {self._shown} does not have its file")
        if response.status != 200:
            raise self._refusal(response.status, body)
        return body

    def _asked(
        self, method: str, path: str, *, fields: dict[str, Any] | None = None, most: int = _MOST
    ) -> tuple[BaseHTTPResponse, bytes]:
        until = time.monotonic() + _PATIENCE
        try:
            response = self._pool.request(
                method,
                self._url + path,
                fields=fields,
                headers=self._headers,
                timeout=Timeout(connect=_CONNECTING, read=_PATIENCE),
                redirect=False,
                preload_content=False,
            )
            try:
                return response, _body(response, until, most)
            finally:
                response.close()
        except (HTTPError, OSError) as exc:
            raise ServiceUnavailable(f"{self._shown}: {_reason(exc)}", service="windmill web") from exc

    def _refusal(self, status: int, body: bytes) -> ConfigError | ServiceUnavailable:
        """What another status than 200 stands for."""
        if status == _NO_TOKEN and "Authorization" not in self._headers:
            return ConfigError(f"{self._shown} answered {status}: it asks for a token; WEB_TOKEN holds ours")
        try:
            said = line(json.loads(body)["error"]["message"], 500)
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._stranger(f"status {status}")
        if status >= 500:
            return ServiceUnavailable(f"{self._shown}: {said}", service="windmill web")
        return ConfigError(f"{self._shown}: {said}")

    def _stranger(self, said: str) -> ConfigError:
        return ConfigError(
            f"{self._shown}{SEARCH} does not answer as a Windmill does ({said}): --remote wants the address"
            " of a `windmill web`"
        )


def _address(url: str) -> str:
    """Without a slash at its end. Raises `ConfigError`."""
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"--remote {line(shown(url), 200)}: expected http://HOST:PORT or https://HOST")
    return url.rstrip("/")


def _fields(query: Query, where: str) -> dict[str, Any]:
    given = {
        "text": query.text.strip(),
        "like": query.like,
        "where": where,
        "min_score": query.least,
        "top_k": query.most,
    }
    return {name: str(value) for name, value in given.items() if value not in (None, "")}


def _body(response: BaseHTTPResponse, until: float, most: int) -> bytes:
    data = bytearray()
    while chunk := response.read1(_CHUNK):  # what is there: who drips has no more time than others
        data += chunk
        if len(data) > most:
            raise HTTPError(f"more than {most / 1e6:g} MB")
        if time.monotonic() > until:
            raise Late("not all there in time")
    return bytes(data)


def _reason(exc: Exception) -> str:
    if isinstance(exc, NewConnectionError):  # a TimeoutError, too
        return "no connection"
    if isinstance(exc, Late):
        return f"no whole answer within {_PATIENCE:g} s"
    if isinstance(exc, SSLError):
        return f"no TLS that can be trusted ({line(exc, 200)})"
    return line(getattr(exc, "reason", None) or exc, 200)
