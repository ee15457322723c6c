"""The HTTP side of ML services; the only place that calls them, and where HTTP's errors become ours."""

from __future__ import annotations

import email.utils
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPResponse

from windmill.bounded_http import (
    BROKEN,
    GARBLED,
    CompressionError,
    Host,
    NotThereError,
    OverflowingError,
    cause,
    read,
)
from windmill.catalog import Service
from windmill.core import replies
from windmill.core.retrying import DELAY_STEPS
from windmill.errors import (
    BadReply,
    ServiceBusy,
    ServiceError,
    ServiceFull,
    ServiceRejected,
    ServiceUnavailable,
)
from windmill.plain import line

_AGAIN = frozenset({408, 425, 429})
_HEALTH, _EMBED_TEXT, _EMBED_IMAGE = "/health", "/embed/text", "/embed/image"
_HEALTH_TIMEOUT = 5.0  # seconds
_HEALTH_BYTES = 4096
_ERROR_BYTES = 65_536  # of an error's body that are read, to find its message
_ERROR_SAID = 500  # characters of it that are passed on
_FILE = b'; filename="image"\r\nContent-Type: application/octet-stream'


class HttpService:
    """Calls one service over kept-alive connections, one for each thread.

    A call takes at most `timeout` seconds, from the connection to the last byte; its reply has at most
    `most` bytes, counted after decompression.
    """

    def __init__(self, service: Service, *, timeout: float, most: int = 2**25) -> None:
        self._service = service
        self._timeout = timeout
        self._most = most
        self._host = Host(service.host, service.port)
        self._form = _Form()

    def analyze(self, picture: bytes) -> bytes:
        return self._post(self._form(file=picture))

    def score(self, picture: bytes, caption: str) -> bytes:
        return self._post(self._form(caption=caption, file=picture))

    def embed_text(self, text: str) -> bytes:
        """Body of the reply to a text. Raises a `ServiceError`."""
        return self._post(self._form(text=text), _EMBED_TEXT)

    def embed_image(self, picture: bytes) -> bytes:
        """Body of the reply to an image. Raises a `ServiceError`."""
        return self._post(self._form(file=picture), _EMBED_IMAGE)

    def healthy(self) -> bool:
        """Whether the service answers `/health` with anything but a server error; one without it is well."""
        try:
            with self._host.open("GET", _HEALTH, seconds=_HEALTH_TIMEOUT, most=_HEALTH_BYTES) as response:
                read(response, _HEALTH_BYTES)
                return response.status < 500
        except GARBLED:
            return False

    def version(self) -> str:
        """The version of the model that `/health` tells; "" where it tells none or does not answer."""
        try:
            with self._host.open("GET", _HEALTH, seconds=_HEALTH_TIMEOUT, most=_HEALTH_BYTES) as response:
                answer = json.loads(read(response, _HEALTH_BYTES))
        except (*GARBLED, ValueError, RecursionError):
            return ""
        return replies.version(answer.get("model")) if isinstance(answer, dict) else ""

    def _post(self, body: Sequence[bytes], path: str = "") -> bytes:
        try:
            with self._host.open(
                "POST",
                path or self._service.endpoint,
                body,
                self._form.kind,
                seconds=self._timeout,
                most=self._most,
            ) as response:
                if not 200 <= response.status < 300:
                    raise self._refusal(response)
                return self._body(response)
        except OverflowingError:
            raise self._too_large(b"") from None
        except BROKEN as exc:
            raise self._broken(exc) from exc

    def _body(self, response: HTTPResponse) -> bytes:
        try:
            body = read(response, self._most)
        except CompressionError as exc:
            message = f"{self._where} sent a reply that cannot be decompressed ({line(exc, 50)})"
            raise BadReply(message, service=self._service.name, body="") from exc
        if len(body) > self._most:
            raise self._too_large(body)
        return body

    @property
    def _where(self) -> str:
        return f"{self._service.name} at {self._service.url}"

    def _too_large(self, body: bytes) -> BadReply:
        message = f"{self._where} sent a reply of more than {self._most / 2**20:g} MB (MAX_REPLY_MB)"
        return BadReply(message, service=self._service.name, body=replies.beginning(body))

    def _broken(self, exc: Exception) -> ServiceUnavailable:
        """What a call without a whole answer means: too slow, not there, or broken off."""
        name, where = self._service.name, self._where
        if isinstance(exc, NotThereError):
            why = "its name is unknown" if exc.unknown else "no connection"
            return ServiceUnavailable(f"{where} cannot be reached: {why}", service=name)
        if self._host.out_of_time():
            answer = "whole answer" if self._host.heard() else "answer"
            setting = "timeout in service_config.json" if self._service.timeout else "REQUEST_TIMEOUT"
            message = f"{where} gave no {answer} within {self._timeout:g} s ({setting})"
            return ServiceUnavailable(message, service=name, timed_out=True)
        message = f"{where} gave no whole answer: {line(cause(exc), 200)}"
        return ServiceUnavailable(message, service=name, broke_off=True)

    def _refusal(self, response: HTTPResponse) -> ServiceError:
        """The error that a status other than 2xx stands for."""
        status, name = response.status, self._service.name
        if 300 <= status < 400:
            target = line(response.headers.get("Location", "nowhere"), 200)
            message = (
                f"{self._where} answered {status}, a redirection to {target}: a service must answer itself"
            )
            return ServiceRejected(message, service=name, status=status)
        message = f"{self._where} answered {status}: {_said(response)}"
        wish = _retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        if status == 503 and wish is not None:
            return ServiceFull(message, service=name, retry_after=wish)
        if status == 503:
            return ServiceUnavailable(message, service=name)
        if status in _AGAIN or status >= 500:
            return ServiceBusy(message, service=name, retry_after=wish)
        return ServiceRejected(message, service=name, status=status)


class _Form:
    """Fields and files as a form (RFC 7578). One boundary serves all: no picture has its 122 random bits."""

    def __init__(self) -> None:
        boundary = uuid.uuid4().hex
        self.kind = f"multipart/form-data; boundary={boundary}"
        self._start = f'--{boundary}\r\nContent-Disposition: form-data; name="'.encode()
        self._end = f"--{boundary}--\r\n".encode()

    def __call__(self, **fields: str | bytes) -> Sequence[bytes]:
        """The body in parts; bytes are a file."""
        parts: list[bytes] = []
        for name, value in fields.items():
            about, content = (_FILE, value) if isinstance(value, bytes) else (b"", value.encode())
            parts += [self._start, name.encode(), b'"', about, b"\r\n\r\n", content, b"\r\n"]
        return (*parts, self._end)


def _said(response: HTTPResponse) -> str:
    """The contract's error message if there is one, else the start of what came."""
    try:
        body = read(response, _ERROR_BYTES)
    except GARBLED:
        return "nothing more"  # the status has been said, and decides
    try:
        return line(json.loads(body)["error"]["message"], _ERROR_SAID)
    except (ValueError, LookupError, TypeError, RecursionError):
        return line(body.decode("utf-8", "replace"), _ERROR_SAID) or "nothing"


def _retry_after(value: str, now: datetime) -> float | None:
    """Seconds from `Retry-After`, in either of its forms, and no more than a job can wait at once."""
    try:
        seconds = float(value) if value.strip().isdecimal() else _until(value, now)
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(0.0, seconds), float(DELAY_STEPS[-1]))


def _until(date: str, now: datetime) -> float:
    moment = email.utils.parsedate_to_datetime(date)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
