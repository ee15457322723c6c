"""A decoder: `python -m windmill.decoding.child` with a socket as standard input; ends with its parent.

A file that crashes it, hangs it or eats memory costs this process and nothing else.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from pathlib import Path

from windmill.decoding import pixels
from windmill.decoding.frames import READY, Reply, Request, Said, Task, receive_request, send
from windmill.errors import ImageError, ImageTooLargeError

_IDLE = 60.0  # seconds without a request after which it makes room; the next one starts another


def main() -> None:
    """Serves requests until the parent is gone or has none for a while."""
    _settle_in()
    with socket.socket(fileno=os.dup(0)) as connection:
        connection.sendall(READY)
        try:
            while _serve(connection):
                pass
        except (EOFError, ConnectionError, TimeoutError):
            return


def _settle_in() -> None:
    """Ends by its socket alone, leaves no core, writes no file, goes first when memory is short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (0, 0))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders write of what they find; files could fill the log
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _serve(connection: socket.socket) -> bool:
    """Answers one request; False if it was the last."""
    request = receive_request(connection, _IDLE)
    _limit(request.memory)
    signal.setitimer(signal.ITIMER_REAL, request.seconds)  # nobody handles SIGALRM: it kills, in C code too
    reply = _answer(request)
    signal.setitimer(signal.ITIMER_REAL, 0)
    send(connection, reply)
    return reply.said is not Said.NO_MEMORY


def _limit(memory: int) -> None:
    """Bounds the memory that this process may write to. Only Linux counts all of it."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory, resource.RLIM_INFINITY))


def _answer(request: Request) -> Reply:
    try:
        return _done(request)
    except ImageTooLargeError as error:
        return Reply(said=Said.TOO_LARGE, data=str(error).encode("utf-8", "replace"))
    except ImageError as error:
        return Reply(said=Said.REFUSED, data=str(error).encode("utf-8", "replace"))
    except MemoryError:
        return Reply(said=Said.NO_MEMORY)


def _done(request: Request) -> Reply:
    if request.task is Task.INSPECT:
        found = pixels.inspect(request.data, request.pixels)
        return Reply(said=Said.DONE, as_is=found.as_is, width=found.width, height=found.height)
    if request.task is Task.UPRIGHT:
        return Reply(said=Said.DONE, data=pixels.upright(request.data, request.pixels))
    if request.task is Task.SMALL:
        return Reply(said=Said.DONE, data=pixels.small(request.data, request.pixels, request.longest))
    width, height, data = pixels.decode(request.data, request.pixels)
    return Reply(said=Said.DONE, width=width, height=height, data=data)


if __name__ == "__main__":
    main()
