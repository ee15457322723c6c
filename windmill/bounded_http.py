"""HTTP calls that end: so many seconds in all, so many bytes in all, whatever the other side does.

HTTP clients limit how long one read may take and nothing else: a server that sends a byte now and then, heads
without end, or a chunk's size of a gigabyte, holds a thread for ever or fills the memory. Here the socket
itself keeps the limits of the call that its thread is in, so that no way of sending gets around them.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

from windmill.core.urls import quoted

_CONNECT_TIMEOUT = 5.0  # seconds; a neighbour on the same network answers at once or is down
_HEAD = 2**20  # bytes that headers and the marks between chunks may take
_INTERIM = 100  # answers before the answer, at 0.1 ms each
_EMPTY = (204, 304)  # whose answers have no body, whatever follows their heads
_TIMEVAL = struct.Struct("@ll")  # seconds, microseconds; 0 and 0 would be no limit
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
    """A length that is none, which is the text."""


class InterimError(HTTPException):
    """What comes before an answer, and none after it; the text is its status, below 200."""


BROKEN = (NotThereError, HTTPException, OSError)
GARBLED = (*BROKEN, OverflowingError, CompressionError)  # no whole answer that can be read


def cause(exc: Exception) -> str:
    """Why there is no whole answer, in few words; `exc` is one of `BROKEN`."""
    if isinstance(exc, ConnectionError):  # RemoteDisconnected, too
        return "the connection was closed"
    if isinstance(exc, IncompleteRead):
        return "it broke off in the middle"
    if isinstance(exc, BadLengthError):
        return f"its body has a length that is none ({exc})"
    if isinstance(exc, InterimError):
        return f"it answered {exc}, which is no answer yet"
    return f"what came is not HTTP ({type(exc).__name__}: {exc})"


class _Limits(threading.local):
    """What is left to the call that this thread is in: until when (monotonic seconds), and how many bytes."""

    until = 0.0
    left = 0
    most = 0

    def start(self, seconds: float, size: int) -> None:
        self.until, self.left, self.most = time.monotonic() + seconds, size, size

    def seconds(self) -> float:
        """Raises `TimeoutError` when none is left."""
        seconds = self.until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("out of time")
        return seconds


class Host:
    """One server, and kept connections to it: as many as there were calls at once. Thread-safe."""

    def __init__(self, host: str, port: int) -> None:
        self._place = host, port
        self._limits = _Limits()
        self._kept: list[_Socket] = []
        weakref.finalize(self, _close_all, self._kept)

    def open(
        self, method: str, path: str, body: Sequence[bytes] = (), kind: str = "", *, seconds: float, most: int
    ) -> AbstractContextManager[HTTPResponse]:
        """A request, whose `body`, in parts, is of the type `kind`. In the block there is the response, with
        its body still to be read; a connection that is not read to its end is closed.

        From here to the end of the block takes at most `seconds`, and brings at most `most` bytes of body
        over the wire. Raises what `BROKEN` lists, and `OverflowingError`; `out_of_time` tells a time that was
        too short from a connection that broke.
        """
        self._limits.start(seconds, most + _HEAD)
        return _Exchange(self, method, b"".join((self._head(method, path, sum(map(len, body)), kind), *body)))

    def out_of_time(self) -> bool:
        """Whether this thread's last call had used up its time."""
        return time.monotonic() >= self._limits.until

    def connection(self) -> tuple[_Socket, bool]:
        """A connection, and whether it is one that was kept."""
        with suppress(IndexError):
            while kept := self._kept.pop():
                if kept.is_quiet():
                    return kept, True
                kept.close()  # by the server, or it holds what nobody asked for: no answer to what comes now
        return self.connected(), False

    def keep(self, connection: _Socket) -> None:
        """For the next call: its answer has been read to the end."""
        self._kept.append(connection)

    def connected(self) -> _Socket:
        """A new connection. Raises `NotThereError`."""
        try:
            plain = socket.create_connection(self._place, min(_CONNECT_TIMEOUT, self._limits.seconds()))
        except (OSError, ValueError) as exc:  # ValueError: what no host can be called
            raise NotThereError(str(exc), unknown=isinstance(exc, socket.gaierror | ValueError)) from exc
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _Socket(plain.family, plain.type, plain.proto, fileno=plain.detach(), limits=self._limits)

    def heard(self) -> bool:
        """Whether this thread's last call has received anything."""
        return self._limits.left < self._limits.most

    def _head(self, method: str, path: str, length: int, kind: str) -> bytes:
        """RFC 9112. One write with the body, and not a line for each field: a third of what a call costs."""
        about = f"Content-Type: {kind}\r\n" if kind else ""
        return (
            f"{method} {quoted(path)} HTTP/1.1\r\nHost: {self._name}\r\n"
            f"Accept-Encoding: identity\r\n{about}Content-Length: {length}\r\n\r\n"
        ).encode()

    @cached_property
    def _name(self) -> str:
        """As the server is to see it. Raises `NotThereError` for what no host can be called."""
        host, port = self._place
        try:
            return f"[{host}]:{port}" if ":" in host else f"{host.encode('idna').decode()}:{port}"
        except UnicodeError as exc:
            raise NotThereError(str(exc), unknown=True) from exc


class _Exchange:
    """One request and its response; a context manager."""

    def __init__(self, host: Host, method: str, request: bytes) -> None:
        self._host = host
        self._method = method
        self._request = request

    def __enter__(self) -> HTTPResponse:
        """Sends once more where a kept connection turns out to be closed: servers close idle ones.

        Or they died of what was sent: then nobody is there any more, and the first error counts.
        """
        self._connection, kept = self._host.connection()
        try:
            return self._sent()
        except (HTTPException, ConnectionError) as closed:
            if not kept or self._host.heard() or self._host.out_of_time():
                raise
            try:
                self._connection = self._host.connected()
            except NotThereError:
                raise closed from None
        return self._sent()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        response = self._response
        whole = (
            kind is None and response.isclosed() and not response.will_close and response.status not in _EMPTY
        )
        response.close()
        if whole:
            self._host.keep(self._connection)
        else:
            self._connection.close()

    def _sent(self) -> HTTPResponse:
        with ExitStack() as stack:
            stack.callback(self._connection.close)
            self._response = stack.enter_context(HTTPResponse(self._connection, method=self._method))
            with suppress(ConnectionError):  # it may have answered, and closed, before it had read all of it
                self._connection.send_whole(self._request)
            self._begin()
            stack.pop_all()
        return self._response

    def _begin(self) -> None:
        """Reads up to the body, and over what comes before the answer (RFC 9110, 15.2), like 103.

        `http.client` itself reads over 100 only. After 101, which nobody asked for, comes no HTTP.
        """
        for _ in range(_INTERIM):
            self._response.begin()
            if self._response.status >= 200:
                return
            if self._response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                break
            self._response.headers = None  # type: ignore[assignment]  # as before the first one
        raise InterimError(self._response.status)


def _close_all(connections: list[_Socket]) -> None:
    while connections:
        connections.pop().close()


class _Socket(socket.socket):
    """A socket whose every wait counts against what is left to the call.

    The kernel ends the waits: for a timeout of its own, Python asks first whether it would have to wait, one
    system call more each time, and one more turn at the interpreter's lock.
    """

    def __init__(self, *args: Any, limits: _Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.setblocking(True)
        self._limits = limits

    def send_whole(self, data: bytes) -> None:
        """All of it; each part counts against the time. Raises `TimeoutError`."""
        rest = memoryview(data)
        while rest:
            self._limit(socket.SO_SNDTIMEO)
            try:
                rest = rest[self.send(rest) :]
            except BlockingIOError as exc:
                raise TimeoutError("out of time") from exc

    def is_quiet(self) -> bool:
        """Whether there is nothing to read, not even an end."""
        try:
            self.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def recv_into(self, *args: Any) -> int:
        self._limit(socket.SO_RCVTIMEO)
        try:
            received = super().recv_into(*args)
        except BlockingIOError as exc:
            raise TimeoutError("out of time") from exc
        self._limits.left -= received
        if self._limits.left < 0:
            raise OverflowingError
        return received

    def _limit(self, option: int) -> None:
        seconds = self._limits.seconds()
        self.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6) or 1))


def read(response: HTTPResponse, most: int) -> bytes:
    """The body, decompressed; of one that is longer than `most` bytes, somewhat more than that.

    Raises what `BROKEN` lists, `OverflowingError` and `CompressionError`.
    """
    if response.length is None and not response.chunked and "Content-Length" in response.headers:
        raise BadLengthError(f"Content-Length: {response.headers['Content-Length']}")
    try:
        body = response.read(most + 1)
    except ValueError as exc:  # of http.client
        raise BadLengthError("a chunk of a negative size") from exc
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
            stream = zlib.decompressobj(_DECOMPRESSED[name.strip()])
            body = stream.decompress(body, most + 1)
        except (KeyError, zlib.error) as exc:
            raise CompressionError(encodings) from exc
        if not stream.eof and len(body) <= most:
            raise IncompleteRead(body)
    return body
