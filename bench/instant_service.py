"""An ML service that answers at once: a keep-alive HTTP server of a few lines, in a process of its own.

    python -m bench.instant_service PORT [--seconds S] [--replies FILE]

With `--seconds` each answer takes that long and no CPU, as if a GPU elsewhere were at work, for any number of
requests at the same time. FILE has a reply a line, which it gives in turn.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

BODY = (
    b'{"service": "yolo", "status": "success", "predictions": [{"label": "cat", "confidence": 0.9, '
    b'"emoji": "\xf0\x9f\x90\x88", "bbox": {"x": 1, "y": 2, "width": 30, "height": 40}}], '
    b'"metadata": {"processing_time": 0.0}}'
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Instant(asyncio.Protocol):
    """Reads a request to its end by Content-Length, and gives the next of the answers, which have no end."""

    def __init__(self, answers: Iterator[bytes], seconds: float) -> None:
        self._answers = answers
        self._seconds = seconds
        self._held = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._held += data
            head, end, rest = self._held.partition(b"\r\n\r\n")
            if not end:
                return
            length = next((v for v in head.lower().split(b"\r\n") if v.startswith(b"content-length:")), b":0")
            self._left, self._held = int(length.split(b":")[1]) - len(rest), b""
        if self._left <= 0:
            self._left = 0
            self._answer()

    def _answer(self) -> None:
        write = partial(self._transport.write, next(self._answers))  # type: ignore[attr-defined]
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, write)
        else:
            write()


async def serve(port: int, bodies: Iterable[bytes], seconds: float) -> None:
    answers = cycle([HEAD % len(body) + body for body in bodies])
    server = await asyncio.get_running_loop().create_server(
        lambda: Instant(answers, seconds), "127.0.0.1", port, backlog=1000
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.instant_service")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--replies", type=Path)
    args = parser.parse_args()
    lines = args.replies.read_bytes().splitlines() if args.replies else [BODY]
    asyncio.run(serve(args.port, lines, args.seconds))
