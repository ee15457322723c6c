"""HTTP calls that end: so many seconds in all, so many bytes in all, whatever the other side does.

HTTP clients limit how long one read may take and nothing else: a server that sends a byte now and then, heads
without end, or a chunk's size of a gigabyte, holds a thread for ever or fills the memory. Here the socket
itself keeps the limits of the call that its thread is in, so that no way of sending gets around them.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Any, NamedTuple

_CONNECT_TIMEOUT = 5.0  # seconds; a neighbour on the same network answers at once or is down
_HEAD = 2**20  # bytes that headers and the marks between chunks may take
_DECOMPRESSED = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}  # zlib's `wbits` for each


class NotThereError(Exception):
    """Nobody answers at that place. `unknown` says that not even its name is known."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class OverflowingError(Exception):
    """The other side sent more bytes than the call allows."""


class CompressionError(Exception):
    """The body is not what its Content-Encoding, which is the text, says."""


class BadLengthError(HTTPException):
    """A length that is none."""


BROKEN = (NotThereError, HTTPException, OSError)


def cause(exc: Exception) -> str:
    """Why there is no whole answer, in few words; `exc` is one of `BROKEN`."""
    if isinstance(exc, ConnectionError):  # RemoteDisconnected, too
        return "the connection was closed"
    if isinstance(exc, IncompleteRead):
        return "it broke off in the middle"
    return f"what came is not HTTP ({type(exc).__name__}: {exc})"


class _Limits(threading.local):
    """What is left to the call that this thread is in: until when (monotonic seconds), and how many bytes."""

    until = 0.0
    left = 0

    def start(self, seconds: float, size: int) -> None:
        self.until, self.left = time.monotonic() + seconds, size

    def seconds(self) -> float:
        """Raises `TimeoutError` when none is left."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("out of time")
        return seconds


class _Request(NamedTuple):
    """As `HTTPConnection.request` takes it."""

    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


class Host:
    """One server, and kept connections to it: as many as there were calls at once. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._limits = _Limits()
        self._kept: list[HTTPConnection] = []
        weakref.finalize(self, _close_all, self._kept)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        seconds: float,
        most: int,
    ) -> Iterator[HTTPResponse]:
        """The response, with its body still to be read; a connection that is not read to its end is closed.

        From here to the end of the block takes at most `seconds`, and brings at most `most` bytes of body
        over the wire. Raises what `BROKEN` lists, and `OverflowingError`; `out_of_time` tells a time that was
        too short from a connection that broke.
        """
        self._limits.start(seconds, most + _HEAD)
        with ExitStack() as stack:
            connection, response = self._send(stack, _Request(method, path, body, headers or {}))
            with response:
                yield response
                whole = response.isclosed()
            if whole and connection.sock is not None:
                stack.pop_all()
                self._kept.append(connection)

    def out_of_time(self) -> bool:
        """Whether this thread's last call had used up its time."""
        return time.monotonic() >= self._limits.until

    def _send(self, stack: ExitStack, request: _Request) -> tuple[HTTPConnection, HTTPResponse]:
        """Sends once more where a kept connection turns out to be closed: servers close idle ones.

        Or they died of what was sent: then nobody is there any more, and the first error counts. `stack`
        closes the connection.
        """
        if not self._kept:
            return self._sent(stack, self._connected(), request)
        size = self._limits.left
        try:
            return self._sent(stack, self._kept.pop(), request)
        except (HTTPException, ConnectionError) as closed:
            stack.close()
            if self._limits.left < size or self.out_of_time():
                raise
            try:
                connection = self._connected()
            except NotThereError:
                raise closed from None
        return self._sent(stack, connection, request)

    def _sent(
        self, stack: ExitStack, connection: HTTPConnection, request: _Request
    ) -> tuple[HTTPConnection, HTTPResponse]:
        stack.callback(connection.close)
        with suppress(BrokenPipeError):  # it may have answered before it had read all of it
            connection.request(*request)
        return connection, connection.getresponse()

    def _connected(self) -> HTTPConnection:
        connection = HTTPConnection(*self._place, timeout=min(_CONNECT_TIMEOUT, self._limits.seconds()))
        try:
            connection.connect()
        except (OSError, ValueError) as exc:  # ValueError: what no host can be called
            raise NotThereError(str(exc), unknown=isinstance(exc, socket.gaierror | ValueError)) from exc
        plain = connection.sock
        connection.sock = _Socket(
            plain.family, plain.type, plain.proto, fileno=plain.detach(), limits=self._limits
        )
        return connection


def _close_all(connections: list[HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


class _Socket(socket.socket):
    """A socket whose every wait counts against what is left to the call."""

    def __init__(self, *args: Any, limits: _Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits

    def sendall(self, *args: Any) -> None:
        self.settimeout(self._limits.seconds())
        super().sendall(*args)

    def recv_into(self, *args: Any) -> int:
        self.settimeout(self._limits.seconds())
        received = super().recv_into(*args)
        self._limits.left -= received
        if self._limits.left < 0:
            raise OverflowingError
        return received


def read(response: HTTPResponse, most: int) -> bytes:
    """The body, decompressed; of one that is longer than `most` bytes, somewhat more than that.

    Raises what `BROKEN` lists, `OverflowingError` and `CompressionError`.
    """
    if response.length is None and not response.chunked and "Content-Length" in response.headers:
        raise BadLengthError(response.headers["Content-Length"])
    try:
        body = response.read(most + 1)
    except ValueError as exc:  # of http.client, for a chunk of a negative size
        raise BadLengthError(str(exc)) from exc
    if len(body) <= most and response.length:
        raise IncompleteRead(body, response.length)
    encodings = response.headers.get("Content-Encoding", "identity")
    return body if encodings == "identity" else _decompressed(body, encodings, most)


def _decompressed(body: bytes, encodings: str, most: int) -> bytes:
    """Undoes what was done last first, and of each no more than is asked for."""
    for name in reversed(encodings.lower().split(",")):
        if name.strip() == "identity":
            continue
        try:
            body = zlib.decompressobj(_DECOMPRESSED[name.strip()]).decompress(body, most + 1)
        except (KeyError, zlib.error) as exc:
            raise CompressionError(encodings) from exc
    return body
