"""The HTTP side of ML services; the only place that calls them, and where HTTP's errors become ours."""

from __future__ import annotations

import email.utils
import json
from datetime import UTC, datetime

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import DecodeError, NameResolutionError
from urllib3.filepost import encode_multipart_formdata

from windmill.bounded_http import BROKEN, NOT_THERE, OverflowingError, Pool, cause
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
_HEALTH, _EMBED_TEXT = "/health", "/embed/text"
_HEALTH_TIMEOUT = 5.0  # seconds
_HEALTH_BYTES = 4096
_ERROR_BYTES = 65_536  # of an error's body that are read, to find its message
_ERROR_SAID = 500  # characters of it that are passed on


class HttpService:
    """Calls one service over kept-alive connections, one for each of `concurrency` threads.

    A call takes at most `timeout` seconds, from the connection to the last byte; its reply has at most
    `most` bytes, counted after decompression.
    """

    def __init__(self, service: Service, *, timeout: float, most: int = 2**25, concurrency: int = 1) -> None:
        self._service = service
        self._timeout = timeout
        self._most = most
        self._pool = Pool(service.host, service.port, concurrency)

    def analyze(self, picture: bytes) -> bytes:
        return self._post({"file": ("image", picture)})

    def score(self, picture: bytes, caption: str) -> bytes:
        return self._post({"caption": caption, "file": ("image", picture)})

    def embed_text(self, text: str) -> bytes:
        """Body of the reply to a text. Raises a `ServiceError`."""
        return self._post({"text": text}, _EMBED_TEXT)

    def healthy(self) -> bool:
        """Whether the service answers `/health` with anything but a server error; one without it is well."""
        try:
            with self._pool.open("GET", _HEALTH, seconds=_HEALTH_TIMEOUT, most=_HEALTH_BYTES) as response:
                response.read(_HEALTH_BYTES)
                return response.status < 500
        except (*BROKEN, OverflowingError):
            return False

    def version(self) -> str:
        """The version of the model that `/health` tells; "" where it tells none or does not answer."""
        try:
            with self._pool.open("GET", _HEALTH, seconds=_HEALTH_TIMEOUT, most=_HEALTH_BYTES) as response:
                answer = json.loads(response.read(_HEALTH_BYTES))
        except (*BROKEN, OverflowingError, RecursionError):
            return ""
        return replies.version(answer.get("model")) if isinstance(answer, dict) else ""

    def _post(self, fields: dict[str, str | tuple[str, bytes]], path: str = "") -> bytes:
        body, kind = encode_multipart_formdata(fields)
        try:
            with self._pool.open(
                "POST",
                path or self._service.endpoint,
                body,
                {"Content-Type": kind},
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

    def _body(self, response: BaseHTTPResponse) -> bytes:
        try:
            body = response.read(self._most + 1, decode_content=True)
        except DecodeError as exc:
            encoding = response.headers.get("Content-Encoding", "")
            message = f"{self._where} sent a reply that cannot be decompressed ({line(encoding, 50)})"
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
        if isinstance(exc, NOT_THERE):
            why = "its name is unknown" if isinstance(exc, NameResolutionError) else "no connection"
            return ServiceUnavailable(f"{where} cannot be reached: {why}", service=name)
        if self._pool.out_of_time():
            message = f"{where} gave no answer within {self._timeout:g} s (REQUEST_TIMEOUT)"
            return ServiceUnavailable(message, service=name, timed_out=True)
        message = f"{where} gave no whole answer: {line(cause(exc), 200)}"
        return ServiceUnavailable(message, service=name, broke_off=True)

    def _refusal(self, response: BaseHTTPResponse) -> ServiceError:
        """The error that a status other than 2xx stands for."""
        status, name = response.status, self._service.name
        if 300 <= status < 400:
            target = line(response.headers.get("Location", "nowhere"), 200)
            message = (
                f"{self._where} answered {status}, a redirection to {target}: a service must answer itself"
            )
            return ServiceRejected(message, service=name)
        message = f"{self._where} answered {status}: {_said(response)}"
        wish = _retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        if status == 503 and wish is not None:
            return ServiceFull(message, service=name, retry_after=wish)
        if status == 503:
            return ServiceUnavailable(message, service=name)
        if status in _AGAIN or status >= 500:
            return ServiceBusy(message, service=name, retry_after=wish)
        return ServiceRejected(message, service=name)


def _said(response: BaseHTTPResponse) -> str:
    """The contract's error message if there is one, else the start of what came."""
    try:
        body = response.read(_ERROR_BYTES, decode_content=True)
    except (*BROKEN, OverflowingError):
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
