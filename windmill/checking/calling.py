"""One request to the service under test and what came of it, within the limits that a worker sets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from windmill.bounded_http import (
    GARBLED,
    CompressionError,
    Host,
    NotThereError,
    OverflowingError,
    cause,
    read,
)
from windmill.catalog import Service
from windmill.core import strict_json
from windmill.core.strict_json import NotJsonError
from windmill.plain import line

_SHOWN = 200  # characters of a body that a failure quotes


class Failed(Exception):
    """The service does not keep a promise: what it was sent, what it should have said, and what it said."""

    def __init__(self, *, sent: str, expected: str, got: str) -> None:
        super().__init__(f"sent {sent}; expected {expected}; got {got}")
        self.sent, self.expected, self.got = sent, expected, got


class Gone(Failed):
    """Nobody listens there any more."""


class Skipped(Exception):
    """The check says nothing here, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent; `what` says it in words ("": only that), and `kind` is its Content-Type ("" for none)."""

    what: str
    path: str
    method: str = "POST"
    body: bytes = b""
    kind: str = ""

    def __str__(self) -> str:
        path = self.path.partition("?")[0]
        return f"{self.method} {path} with {self.what}" if self.what else f"{self.method} {path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back after `seconds`; headers' names are in lower case, the body is decompressed."""

    request: Request
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __str__(self) -> str:
        said = line(self.body[: 4 * _SHOWN].decode("utf-8", "replace"), _SHOWN)
        return f"{self.status}: {said or 'nothing more'}"

    def json(self, expected: str = "a JSON object") -> dict[str, Any]:
        """The object in the body. Raises `Failed`."""
        try:
            value = strict_json.loads(self.body)
        except ValueError as exc:
            self.fail(
                expected,
                f"{self} (no JSON)" if isinstance(exc, NotJsonError) else f"{self} ({line(exc, 100)})",
            )
        if not isinstance(value, dict):
            self.fail(expected)
        return value

    def fail(self, expected: str, got: str = "") -> NoReturn:
        """Raises `Failed`; `got` is what came, where the answer's beginning does not tell."""
        raise Failed(sent=str(self.request), expected=expected, got=got or str(self))


class Caller(Protocol):
    """Sends a request and waits for its answer. Raises `Failed` when there is no whole one."""

    def __call__(self, request: Request) -> Answer: ...


class HttpCaller:
    """A `Caller` with a worker's own HTTP client, for any number of threads at once.

    A call takes at most `timeout` seconds, and brings at most `most` bytes.
    """

    def __init__(self, service: Service, *, timeout: float, most: int) -> None:
        self._timeout = timeout
        self._most = most
        self._host = Host(service.host, service.port)

    def __call__(self, request: Request) -> Answer:
        started = time.perf_counter()
        try:
            with self._host.open(
                request.method,
                request.path,
                [request.body],
                request.kind,
                seconds=self._timeout,
                most=self._most,
            ) as response:
                body = read(response, self._most)
                headers = {name.lower(): value for name, value in response.headers.items()}
        except GARBLED as exc:
            raise self._silence(request, exc) from exc
        if len(body) > self._most:
            raise self._silence(request, OverflowingError())
        seconds = time.perf_counter() - started
        return Answer(request=request, status=response.status, body=body, headers=headers, seconds=seconds)

    def _silence(self, request: Request, exc: Exception) -> Failed:
        """What it means that there is no whole answer."""
        if isinstance(exc, NotThereError):
            return Gone(sent=str(request), expected="an answer", got="no connection")
        if isinstance(exc, OverflowingError):
            got = f"more than {self._most / 2**20:g} MB (MAX_REPLY_MB)"
        elif self._host.out_of_time():
            got = f"{'no whole one' if self._host.heard() else 'none'} within {self._timeout:g} s"
        elif isinstance(exc, CompressionError):
            got = f"a body that is not {line(exc, _SHOWN)}"
        else:
            got = f"none: {line(cause(exc), _SHOWN)}"
        return Failed(sent=str(request), expected="an answer", got=got)
