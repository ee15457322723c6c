"""HTTP calls that end: so many seconds in all, so many bytes in all, whatever the other side does.

urllib3 limits how long one read may take and nothing else: a server that sends a byte now and then, headers
without end, or a chunk's size of a gigabyte, holds a thread for ever or fills the memory. Here the socket
itself keeps the limits of the call that its thread is in, so that no way of sending gets around them.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, IncompleteRead
from typing import Any

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProtocolError,
)

BROKEN = (HTTPError, HTTPException, OSError, ValueError)  # ValueError: of urllib3, for odd hosts
NOT_THERE = (ConnectTimeoutError, NewConnectionError, LocationValueError)

_CONNECT_TIMEOUT = 5.0  # seconds; a neighbour on the same network answers at once or is down
_HEAD = 2**20  # bytes that headers and the marks between chunks may take


class OverflowingError(Exception):
    """The other side sent more bytes than the call allows."""


def cause(exc: Exception) -> str:
    """Why there is no whole answer, in few words; `exc` is one of `BROKEN`."""
    inner = exc.args[-1] if isinstance(exc, ProtocolError) and exc.args else exc
    if isinstance(inner, ConnectionError):
        return "the connection was closed"
    if isinstance(inner, IncompleteRead):
        return "it broke off in the middle"
    return f"what came is not HTTP ({type(inner).__name__}: {inner})"


class _Limits(threading.local):
    """What is left to the call that this thread is in: until when (monotonic seconds), and how many bytes."""

    until = 0.0
    left = 0
    connected = False  # whether the call made a connection of its own

    def start(self, seconds: float, size: int) -> None:
        self.until, self.left, self.connected = time.monotonic() + seconds, size, False

    def seconds(self) -> float:
        """Raises `TimeoutError` when none is left."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("out of time")
        return seconds


class Pool:
    """Kept-alive connections to one server, one for each of `size` threads."""

    def __init__(self, host: str, port: int, size: int = 1) -> None:
        self._limits = limits = _Limits()

        class Connection(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                limits.connected = True
                plain = self.sock
                self.sock = _Socket(
                    plain.family, plain.type, plain.proto, fileno=plain.detach(), limits=limits
                )

        self._pool = HTTPConnectionPool(host, port, maxsize=size)
        self._pool.ConnectionCls = Connection

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
    ) -> Iterator[BaseHTTPResponse]:
        """The response, with its body still to be read; a connection that is not read to its end is closed.

        From here to the end of the block takes at most `seconds`, and brings at most `most` bytes of body
        over the wire. Raises what `BROKEN` lists, and `OverflowingError`; `out_of_time` tells a time that was
        too short from a connection that broke.
        """
        self._limits.start(seconds, most + _HEAD)
        response = self._send(
            method,
            path,
            body,
            headers,
            retries=False,
            redirect=False,
            timeout=Timeout(connect=min(_CONNECT_TIMEOUT, seconds), read=seconds),
            preload_content=False,
        )
        try:
            yield response
        finally:
            response.close()

    def _send(self, *request: Any, **options: Any) -> BaseHTTPResponse:
        """Sends once more where a kept connection turns out to be closed: servers close idle ones.

        Or they died of what was sent: then nobody is there any more, and the first error counts.
        """
        size, closed = self._limits.left, None
        while True:
            try:
                return self._pool.urlopen(*request, **options)
            except ProtocolError as exc:
                if self._limits.connected or self._limits.left < size or self.out_of_time():
                    raise
                closed = exc
            except (ConnectTimeoutError, NewConnectionError):
                if closed is not None:
                    raise closed from None
                raise

    def out_of_time(self) -> bool:
        """Whether this thread's last call had used up its time."""
        return time.monotonic() >= self._limits.until


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
