"""What a decoder and its parent say to each other over a socket: a request, a reply, a request, …"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum

READY = b"!"  # said once, when a decoder can take requests; else it ends
REQUEST = struct.Struct("<BQQdIQ")
REPLY = struct.Struct("<B?IIQ")


class Task(IntEnum):
    """What is to be done with a file."""

    INSPECT = 0  # its upright size, and whether it will do as it is
    UPRIGHT = 1  # the file as services should see it; nothing if it will do as it is
    DECODE = 2  # its upright pixels in RGB
    SMALL = 3  # an upright JPEG of it, no side longer than asked for


class Said(IntEnum):
    """What a reply is."""

    DONE = 0
    REFUSED = 1
    TOO_LARGE = 2
    NO_MEMORY = 3  # the decoder's last words


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A file and what decoding it may cost."""

    task: Task
    data: bytes
    pixels: int
    memory: int  # bytes
    seconds: float
    longest: int = 0  # pixels of the longer side of what is SMALL

    def header(self) -> bytes:
        return REQUEST.pack(self.task, self.pixels, self.memory, self.seconds, self.longest, len(self.data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The outcome; `data` is a file, pixels, or why there are none. `as_is`: services can be sent it so."""

    said: Said
    as_is: bool = False
    width: int = 0
    height: int = 0
    data: bytes | bytearray = b""

    def header(self) -> bytes:
        return REPLY.pack(self.said, self.as_is, self.width, self.height, len(self.data))


def receive_reply(connection: socket.socket, most: int, deadline: float) -> Reply:
    """A reply with at most `most` bytes. Raises `ValueError` for what is none, and as `receive` does."""
    said, as_is, width, height, length = REPLY.unpack(receive(connection, REPLY.size, deadline))
    if length > most:
        raise ValueError(length)
    data = receive(connection, length, deadline)
    return Reply(said=Said(said), as_is=as_is, width=width, height=height, data=data)


def send(connection: socket.socket, message: Request | Reply) -> None:
    """All of it; the header together with what of the data finds room, so that the other side wakes once."""
    header = message.header()
    sent = connection.sendmsg((header, message.data))
    if sent < len(header):
        connection.sendall(header[sent:])
    connection.sendall(memoryview(message.data)[max(0, sent - len(header)) :])


def receive(connection: socket.socket, length: int, deadline: float) -> bytearray:
    """Exactly `length` bytes. Raises `EOFError` when they end early, `TimeoutError` at the deadline."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        count = connection.recv_into(rest)
        if count == 0:
            raise EOFError
        rest = rest[count:]
    return data


def receive_request(connection: socket.socket, patience: float) -> Request:
    """The next request, for which one waits so many seconds. Raises `EOFError`, `TimeoutError`."""
    connection.settimeout(patience)
    header = connection.recv(REQUEST.size)
    connection.settimeout(None)
    header += _all(connection, REQUEST.size - len(header)) if header else b""
    if len(header) < REQUEST.size:
        raise EOFError
    task, pixels, memory, seconds, longest, length = REQUEST.unpack(header)
    data = _all(connection, length)
    return Request(task=Task(task), data=data, pixels=pixels, memory=memory, seconds=seconds, longest=longest)


def _all(connection: socket.socket, length: int) -> bytes:
    """Exactly `length` bytes, in one piece where the system can: what is decoded is not copied before."""
    data = connection.recv(length, socket.MSG_WAITALL) if length else b""
    while len(data) < length:
        more = connection.recv(length - len(data), socket.MSG_WAITALL)
        if not more:
            raise EOFError
        data += more
    return data
