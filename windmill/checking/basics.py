"""A worker finds the service well, gets its reply, and keeps its connection; others get theirs by GET."""

from __future__ import annotations

import http.client
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from urllib3.filepost import encode_multipart_formdata

from windmill.checking.calling import Answer, Failed, Skipped
from windmill.checking.target import CAPTION, Target, check_refused
from windmill.core import replies

_HEALTH_BYTES = 4096  # that a worker reads of it
_HEALTHY = '200 with {"status": "healthy"} or "degraded"'
_CLOCKS = 1.0  # seconds that a service's clock may seem to be ahead of ours


def health(target: Target) -> str:
    """`GET /health` as a worker asks for it, and the model that it names."""
    answer = target.get("", "/health")
    body = answer.json(_HEALTHY) if answer.status == 200 else answer.fail(_HEALTHY)
    if body.get("status") not in ("healthy", "degraded"):
        answer.fail(_HEALTHY)
    if len(answer.body) > _HEALTH_BYTES:
        answer.fail(f"at most {_HEALTH_BYTES} bytes", f"{len(answer.body)}")
    version = replies.version(body.get("model"))
    named = f"model {version}" if version else "it names no model: rerun --stale learns of a new one later"
    return f"{body['status']}; {named}"


def reply(target: Target) -> str:
    """A photo's reply, read by the parser that a worker reads it with."""
    answer = target.seen
    target.check_reply(answer)
    found = answer.json().get("predictions")
    count = f"{len(found)} predictions, " if isinstance(found, list) else ""
    return f"{count}{len(answer.body)} bytes, {answer.seconds:.2f} s"


def processing_time(target: Target) -> str:
    """In seconds, and no longer than the whole call took."""
    answer = target.reply
    metadata = answer.json().get("metadata")
    seconds = metadata.get("processing_time") if isinstance(metadata, dict) else None
    expected = f"metadata.processing_time in seconds, of the {answer.seconds:.2f} s that the call took"
    if not isinstance(seconds, int | float) or not 0 <= seconds <= answer.seconds + _CLOCKS:
        answer.fail(expected, f"{seconds}")
    return f"{seconds:g} s"


def keep_alive(target: Target) -> str:
    """Two photos on one connection."""
    service = target.service
    body, kind = encode_multipart_formdata({"caption": CAPTION, "file": ("image", target.photo.jpeg)})
    sent = f"two photos to {service.endpoint} on one connection"
    with closing(
        http.client.HTTPConnection(service.host, service.port, timeout=target.timeout)
    ) as connection:

        def post() -> None:
            connection.request("POST", service.endpoint, body, {"Content-Type": kind})
            connection.getresponse().read()

        try:
            post()
            if connection.sock is None:
                raise Failed(sent=sent, expected="an open connection", got="a closed one")
            post()
        except (http.client.HTTPException, OSError) as exc:
            raise Failed(sent=sent, expected="two answers", got=f"{type(exc).__name__}: {exc}") from exc
    return "the connection stays open"


def older_endpoint(target: Target) -> str:
    """Not needed, but said."""
    if target.service.endpoint != "/v3/analyze":
        raise Skipped(f"only beside /v3/analyze; this endpoint is {target.service.endpoint}")
    answer = target.upload(target.photo.jpeg, "a photo", "/analyze")
    if answer.status != 200:
        return f"/analyze, the older endpoint, answers {answer.status}: fine, unless an older client needs it"
    target.check_reply(answer)
    return "/analyze answers, too"


def unknown_path(target: Target) -> str:
    return _status(target.get("", "/windmill/no/such/path"), 404)


def other_method(target: Target) -> str:
    return _status(target.get("", method="DELETE"), 405)


def _status(answer: Answer, status: int) -> str:
    if answer.status != status:
        answer.fail(str(status))
    return str(status)


def by_url(target: Target) -> str:
    """`?url=` of a photo that is served here."""
    if not _here(target.service.host):
        raise Skipped("the service runs elsewhere, and cannot fetch a photo from this machine")
    with _serving(target.photo.jpeg) as url:
        return target.check_answered(target.get("?url= of a photo on this machine", url=url))


def url_of_a_file(target: Target) -> str:
    """`?url=file:…` would hand out the service's own files."""
    check_refused(target.get("?url=file:///etc/passwd", url="file:///etc/passwd"))
    return "refused"


def by_file(target: Target) -> str:
    """`?file=` of a photo that lies here, where service and check share a machine."""
    if not _here(target.service.host):
        return target.check_answered(target.get("?file= of no file", file="/no/such/photo.jpg"))
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Path(file.name).write_bytes(target.photo.jpeg)
        return target.check_answered(target.get("?file= of a photo on this machine", file=file.name))


def no_image(target: Target) -> str:
    """GET without saying which image."""
    check_refused(target.get("neither ?url= nor ?file="))
    return "refused"


def _here(host: str) -> bool:
    """Whether the service and this process see the same loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def _serving(data: bytes) -> Iterator[str]:
    """The address of a photo on this machine."""

    class Photo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass  # the result says enough

    with ThreadingHTTPServer(("127.0.0.1", 0), Photo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/photo.jpg"
        finally:
            server.shutdown()
            thread.join()
