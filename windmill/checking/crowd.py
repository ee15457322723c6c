"""Many at once, and those who leave without a word."""

from __future__ import annotations

import email.utils
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from urllib3.filepost import encode_multipart_formdata

from windmill.checking.calling import Answer, Gone
from windmill.checking.target import CAPTION, Target

_BUSY = (429, 503)
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets the connection
_SECONDS = 10.0  # for sending a photo


def at_once(target: Target) -> str:
    """Each client gets a reply, or is told when to come again."""
    with ThreadPoolExecutor(target.clients) as pool:
        what = f"a photo, {target.clients} clients at once"
        answers = list(pool.map(lambda _: target.upload(target.photo.jpeg, what), range(target.clients)))
    for answer in answers:
        if answer.status in _BUSY:
            _check_wish(answer)
        else:
            target.check_reply(answer)
    counts = Counter(answer.status for answer in answers)
    slowest = max(answer.seconds for answer in answers)
    return ", ".join(f"{n} × {status}" for status, n in counts.items()) + f", the last after {slowest:.1f} s"


def _check_wish(answer: Answer) -> None:
    wish = answer.headers.get("retry-after", "")
    if not wish.isdecimal() and not email.utils.parsedate(wish):
        expected = f"{answer.status} with Retry-After, in seconds or as a date"
        answer.fail(expected, f"Retry-After: {wish}" if wish else "no Retry-After")


def hung_up(target: Target) -> str:
    """Clients that leave in the middle of an upload, and before the reply; then one that stays."""
    body, kind = encode_multipart_formdata({"caption": CAPTION, "file": ("image", target.photo.jpeg)})
    head = (
        f"POST {target.service.endpoint} HTTP/1.1\r\nHost: {target.service.host}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for size in (0, len(body) // 2, len(body)):
        for option in (_ABORT, None):
            _leave(target, head + body[:size], option)
    answer = target.upload(target.photo.jpeg, "a photo, after six clients that hung up")
    if answer.status not in _BUSY:
        target.check_reply(answer)
    return "the next client is answered"


def _leave(target: Target, data: bytes, option: bytes | None) -> None:
    """Sends this and closes, with a reset or in peace."""
    where = (target.service.host, target.service.port)
    try:
        with socket.create_connection(where, timeout=_SECONDS) as connection:
            connection.sendall(data)
            if option:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
    except OSError as exc:
        got = f"{type(exc).__name__}: {exc}"
        raise Gone(sent="a part of a photo", expected="a connection", got=got) from exc
