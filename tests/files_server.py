"""A server of files that can do what real ones do to a download: break off, forget Range, change the file."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What it serves and how it misbehaves; `asked` holds each request's path and its headers."""

    content: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"1"'
    ranges: bool = True  # knows Range
    if_range: bool = True  # knows If-Range
    sized: bool = True  # tells Content-Length
    refusals: list[int] = field(default_factory=list)  # a status each, for the next requests
    cuts: list[int] = field(default_factory=list)  # for the next replies: hang up after so many bytes
    holds: dict[str, int] = field(default_factory=dict)  # path → send so many bytes, then wait for `go_on`
    go_on: threading.Event = field(default_factory=threading.Event)
    redirect: str | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.asked]


@contextmanager
def serving(files: Files) -> Iterator[Files]:
    """On a port of its own, with `url` set."""

    class Handler(_Handler):
        served = files

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    files.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield files
    finally:
        files.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Files

    def do_GET(self) -> None:
        served = self.served
        path = self.path.partition("?")[0]
        served.asked.append((path, dict(self.headers)))
        if served.refusals:
            self._status(served.refusals.pop(0))
        elif served.redirect and path == "/moved":
            self.send_response(302)
            self.send_header("Location", served.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path in served.content:
            self._file(path, served.content[path])
        else:
            self._status(404)

    def _status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, path: str, data: bytes) -> None:
        served = self.served
        start = self._start(len(data))
        if start >= len(data) > 0:
            self._status(416)
            return
        self.send_response(206 if start else 200)
        if served.etag:
            self.send_header("ETag", served.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if served.sized:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self._body(path, data, start)

    def _start(self, size: int) -> int:
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        changed = self.served.if_range and self.headers.get("If-Range") not in (None, self.served.etag)
        return int(match[1]) if match and self.served.ranges and not changed else 0

    def _body(self, path: str, data: bytes, start: int) -> None:
        served = self.served
        end = start + served.cuts.pop(0) if served.cuts else len(data)
        hold = served.holds.pop(path, None)
        if hold is not None:
            self._send(data[start : start + hold])
            served.go_on.wait(60)
            start += hold
        self._send(data[start:end])

    def _send(self, data: bytes) -> None:
        self.served.sent += len(data)
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:  # the client was killed, which is what the test is about
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""
