"""The service under test, and what each check asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from urllib3.filepost import encode_multipart_formdata

from windmill.catalog import SCORER, Service
from windmill.checking.calling import Answer, Caller, Failed, Request, Skipped
from windmill.checking.pictures import Photo
from windmill.core import replies
from windmill.errors import BadReply, ServiceRejected

CAPTION = "a person beside a stop sign"
_BOUNDARY = "windmill-check"
_SHAPE = "the JSON of an error (docs/service-api.md)"
_ERROR = f"a status of 4xx with {_SHAPE}"


@dataclass(frozen=True, kw_only=True)  # without slots: what is asked once is kept
class Target:
    """A service, how to call it, a photo to call it with, how many clients a crowd is, and its patience."""

    service: Service
    call: Caller
    photo: Photo
    clients: int = 32
    timeout: float = 60.0  # seconds for one call

    @cached_property
    def seen(self) -> Answer:
        """The answer about the photo, whatever it is. Raises `Failed` when there is none."""
        return self.upload(self.photo.jpeg, "a photo")

    @property
    def reply(self) -> Answer:
        """The reply about the photo; checks that look closer say nothing without one that a worker reads."""
        try:
            self.check_reply(self.seen)
        except Failed:
            raise Skipped("there is no reply to look at: see the check `reply`") from None
        return self.seen

    def upload(self, picture: bytes, what: str, path: str = "") -> Answer:
        """Posts a picture as a worker does; a caption scorer gets its caption as well."""
        fields = {"caption": CAPTION} if self.service.name == SCORER else {}
        return self.form({**fields, "file": ("image", picture)}, what, path)

    def form(self, fields: Mapping[str, str | tuple[str, bytes]], what: str, path: str = "") -> Answer:
        body, kind = encode_multipart_formdata(dict(fields), boundary=_BOUNDARY)
        return self.send(body, kind, what, path)

    def send(self, body: bytes, kind: str, what: str, path: str = "") -> Answer:
        return self.call(Request(what=what, path=path or self.service.endpoint, body=body, kind=kind))

    def get(self, what: str, path: str = "", method: str = "GET", **query: str) -> Answer:
        path = path or self.service.endpoint
        return self.call(
            Request(what=what, path=f"{path}?{urlencode(query)}" if query else path, method=method)
        )

    def check_reply(self, answer: Answer) -> None:
        """Reads the answer as a worker does. Raises `Failed` when the job would fail."""
        if answer.status != 200:
            answer.fail("200 with a reply")
        try:
            if self.service.name == SCORER:
                replies.parse_score(self.service, answer.body)
            else:
                replies.parse(self.service, answer.body)
        except (BadReply, ServiceRejected) as exc:
            answer.fail("a reply that a worker reads", str(exc))

    def check_answered(self, answer: Answer) -> str:
        """Passes a reply and a contract error, and says which it was. Raises `Failed`."""
        if answer.status == 200 and answer.json("a reply").get("status") != "error":
            self.check_reply(answer)
            return "answered"
        check_refused(answer, f"a reply, or {_ERROR}")
        return f"refused with {answer.status}"


def check_refused(answer: Answer, expected: str = _ERROR, status: int | None = None) -> None:
    """Passes an error of the contract's shape, with this status where one is given. Raises `Failed`."""
    fits = answer.status == status if status else answer.status == 200 or 400 <= answer.status < 500
    if not fits:
        answer.fail(f"{status} with {_SHAPE}" if status else expected)
    body = answer.json(expected)
    missing = [name for name, holds in _error_fields(body).items() if not holds]
    if missing:
        answer.fail(expected, f"{answer} (missing or wrong: {', '.join(missing)})")


def _error_fields(body: Mapping[str, Any]) -> Mapping[str, bool]:
    error, metadata = body.get("error"), body.get("metadata")
    message = error.get("message") if isinstance(error, dict) else None
    seconds = metadata.get("processing_time") if isinstance(metadata, dict) else None
    return {
        "service": isinstance(body.get("service"), str),
        "status": body.get("status") == "error",
        "predictions": body.get("predictions") == [],
        "error.message": isinstance(message, str) and bool(message),
        "metadata.processing_time": isinstance(seconds, int | float) and seconds >= 0,
    }
