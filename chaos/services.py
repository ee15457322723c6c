"""All fake services in one process, and how they are told to misbehave.

`python -m chaos.services CONTROL_PORT NAME=PORT…`. On the control port, a POST of `{"service", "fault"}` sets
a fault (`{"service", "pace"}` the seconds that a call takes); a GET says how often each service was sent each
image, and how many calls are under way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from chaos.answers import Picture, answer
from chaos.photos import MARK
from windmill import lifeline

FAULTS = ("", "down", "error", "busy", "half", "silent")
TIMES = 2  # calls about an unlucky image that fail before one succeeds: less than MAX_RETRIES


class Service:
    """One service on one port."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.calls: Counter[str] = Counter()
        self.pace = 0.0
        self.busy = 0  # calls under way
        self._port = port
        self._fault = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", self._port, limit=1 << 24)

    async def misbehave(self, fault: str) -> None:
        """Takes on one of `FAULTS`; "" is well again."""
        was, self._fault = self._fault, fault
        if fault == "down" and self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
        elif was == "down":
            await self.start()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (request := await _request(reader)) is not None:
                status, extra, body = await self._respond(*request)
                writer.write(_response(status, extra, body))
                await writer.drain()
        except ConnectionError:
            pass  # the worker was killed, or we are down: both are what this program is for
        finally:
            self._open.discard(writer)
            writer.close()

    async def _respond(self, line: str, head: bytes, body: bytes) -> tuple[str, str, bytes]:
        if line.startswith("GET"):
            return "200 OK", "", b'{"status": "healthy"}'
        picture = _picture(head, body)
        self.calls[picture.name] += 1
        self.busy += 1
        try:
            return await self._look(picture)
        finally:
            self.busy -= 1

    async def _look(self, picture: Picture) -> tuple[str, str, bytes]:
        await asyncio.sleep(self.pace)
        reply = answer(self.name, picture)
        marked = MARK in picture.data
        unlucky = picture.number(self.name, "luck", below=10) == 0 and self.calls[picture.name] <= TIMES
        if self._fault == "error" and unlucky:
            return "500 Internal Server Error", "", b"a bug"
        if self._fault == "busy" and unlucky:
            return "429 Too Many Requests", "Retry-After: 1\r\n", b"later"
        if self._fault == "half" and marked:
            return "200 OK", "", reply[: len(reply) // 2]
        if self._fault == "silent" and (marked or (unlucky and self.calls[picture.name] == 1)):
            await asyncio.sleep(3600)
        return "200 OK", "", reply


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes, bytes] | None:
    """Request line, head and body; None when the other side has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b"\r\n", 1)[0].decode(), head, await reader.readexactly(_length(head))
    except asyncio.IncompleteReadError:
        return None


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next((int(one.split(b":")[1]) for one in lines if one.startswith(b"content-length:")), 0)


def _response(status: str, extra: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n{extra}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _picture(head: bytes, body: bytes) -> Picture:
    """The fields of a form with a file."""
    boundary = head.split(b"boundary=", 1)[1].split(b"\r\n", 1)[0].strip(b'"')
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        about, _, content = part.partition(b"\r\n\r\n")
        fields["file" if b'name="file"' in about else "caption"] = content[:-2]
    return Picture(fields["file"], fields.get("caption", b"").decode())


class Control:
    """The harness's way in."""

    def __init__(self, services: dict[str, Service]) -> None:
        self._services = services

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _request(reader)
        if request is not None:
            body = await self._obey(json.loads(request[2])) if request[2] else self._counts()
            writer.write(_response("200 OK", "Connection: close\r\n", json.dumps(body).encode()))
            await writer.drain()
        writer.close()

    async def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Sets what the order names, of one service or of all, and forgets the counts if it says so."""
        chosen = [self._services[order["service"]]] if "service" in order else list(self._services.values())
        for service in chosen:
            service.pace = order.get("pace", service.pace)
            if "fault" in order:
                await service.misbehave(order["fault"])
            if order.get("forget"):
                service.calls.clear()
        return {}

    def _counts(self) -> dict[str, Any]:
        return {name: {"calls": one.calls, "busy": one.busy} for name, one in self._services.items()}


async def serve(control_port: int, ports: dict[str, int]) -> None:
    services = {name: Service(name, port) for name, port in ports.items()}
    for service in services.values():
        await service.start()
    control = Control(services)
    server = await asyncio.start_server(control.converse, "127.0.0.1", control_port, limit=1 << 24)
    await server.serve_forever()


if __name__ == "__main__":
    lifeline.follow_parent()
    pairs = (word.split("=") for word in sys.argv[2:])
    asyncio.run(serve(int(sys.argv[1]), {name: int(port) for name, port in pairs}))
