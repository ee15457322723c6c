"""An ML service that answers at once: a keep-alive HTTP server of a few lines, in a process of its own.

    python -m bench.instant_service PORT [SECONDS]

With SECONDS each answer takes that long and no CPU, as if a GPU elsewhere were at work, for any number of
requests at the same time.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial

BODY = (
    b'{"service": "yolo", "status": "success", "predictions": [{"label": "cat", "confidence": 0.9, '
    b'"emoji": "\xf0\x9f\x90\x88", "bbox": {"x": 1, "y": 2, "width": 30, "height": 40}}], '
    b'"metadata": {"processing_time": 0.0}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Instant(asyncio.Protocol):
    """Reads a request to its end by Content-Length, and answers, after `seconds` where that is not 0."""

    def __init__(self, seconds: float = 0.0) -> None:
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
        write = partial(self._transport.write, ANSWER)  # type: ignore[attr-defined]
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, write)
        else:
            write()


async def serve(port: int, seconds: float = 0.0) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Instant(seconds), "127.0.0.1", port, backlog=1000
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *map(float, sys.argv[2:])))
