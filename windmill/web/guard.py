"""Who may come in, what every answer carries, and one line in the log for each request."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from windmill.plain import line
from windmill.web.refusals import refusal

log = logging.getLogger(__name__)

# A browser may load, run, show and ask nothing but what is here; nobody may frame it.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_PRIVATE = ("/api/", "/images/")  # what is kept from other sites, and may need a token
_READING = ("GET", "HEAD", "OPTIONS")
_SEARCHING = ("/api/search/image",)  # a POST that changes nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may do what. `tokens` are for writing, and for reading unless that is `open_reading`.

    `names`: what the server may be called in a request's `Host`, beside IP addresses and localhost, so that
    another site's name that leads here (DNS rebinding) is none; None: anything.
    """

    tokens: Sequence[str] = field(default=(), repr=False)
    open_reading: bool = True
    names: Sequence[str] | None = ()

    def refused(self, method: str, path: str, headers: Headers) -> JSONResponse | None:
        """Why a request may not come in; None where it may."""
        if self.names is not None and not _known(headers.get("host", ""), self.names):
            return refusal(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server does not go by that name; windmill web --name NAME tells it one",
            )
        if not path.startswith(_PRIVATE):
            return None
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return refusal(HTTPStatus.FORBIDDEN, "another site may not ask in a visitor's name")
        reads = method in _READING or path in _SEARCHING
        return None if reads and self.open_reading else self._without_token(headers)

    def _without_token(self, headers: Headers) -> JSONResponse | None:
        if not self.tokens:
            return refusal(HTTPStatus.FORBIDDEN, "nothing can be changed here: WEB_TOKENS names no token")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            wanted = "a token is needed: Authorization: Bearer TOKEN, one of WEB_TOKENS"
            return refusal(HTTPStatus.UNAUTHORIZED, wanted, {"WWW-Authenticate": "Bearer"})
        given = token.strip().encode()
        known = [hmac.compare_digest(given, one.encode()) for one in self.tokens]  # all of them, always
        return None if any(known) else refusal(HTTPStatus.FORBIDDEN, "this token is none of WEB_TOKENS")


def _known(host: str, names: Sequence[str]) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return name.lower() in ("localhost", *names)
    return True


class Guard:
    """The middleware around everything else."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        try:
            refused = self._rules.refused(scope["method"], scope["path"], Headers(scope=scope))
            await (refused or self._app)(scope, receive, sending)
        finally:
            _log(scope, status, time.perf_counter() - started)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Without the query: what people look for is their own affair."""
    level = logging.INFO if scope["path"].startswith("/api/") or status >= 400 else logging.DEBUG
    client = scope["client"][0] if scope.get("client") else "-"
    log.log(
        level, "%s %s %s %d %.0f ms", client, scope["method"], line(scope["path"], 200), status, 1e3 * seconds
    )
