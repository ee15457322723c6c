"""A service that says exactly the bytes that a test wants said, whatever HTTP thinks of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def talking(
    pieces: Callable[[], Iterable[bytes]], *, pause: float = 0.0, listens: bool = True, reads: int = 0
) -> Iterator[int]:
    """The port of a service that answers every connection with `pieces()`, `pause` seconds after each.

    It reads the request first, or `reads` bytes of it if that is not 0. Unless it does not listen: then it
    keeps the connection open, reading nothing.
    """
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if not listens:
                over.wait(10)
                return
            if reads:
                connection.recv(reads)
            else:
                read_request(connection)
            for piece in pieces():
                connection.sendall(piece)
                if over.wait(pause):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads = [threading.Thread(target=_serve, args=(listening, answer))]
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            threads[0].join(10)


def _serve(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Answers each connection in a thread of its own, until `listening` is shut; waits for them then."""
    threads = []
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()
    for thread in threads:
        thread.join(10)


def read_request(connection: socket.socket) -> None:
    """Reads one to its end, which may come apart from its head; raises `ConnectionError` if there is none."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += _some(connection)
    head, _, rest = held.lower().partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    left = int(lengths[0]) - len(rest) if lengths else 0
    while left > 0:
        left -= len(_some(connection))


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client has left")
    return data
