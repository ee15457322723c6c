"""One service's HTTP application: `docs/service-api.md` to the letter."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from windmill.errors import ConfigError, ImageError, ImageTooLargeError
from windmill.services import door, uploads
from windmill.services.base import ANALYZE, Info, Model, NothingToEmbed, RequestError, UpstreamError
from windmill.services.host import FullError, Host, Limits
from windmill.services.metrics import Metrics

log = logging.getLogger(__name__)

_OLDER = "/analyze"  # what workers of older services call

# Errors that have an answer of their own; all others are a 500, and in the log.
_STATUS: Mapping[type[Exception], HTTPStatus] = {
    ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageError: HTTPStatus.BAD_REQUEST,
    uploads.SlowUploadError: HTTPStatus.REQUEST_TIMEOUT,
    RequestError: HTTPStatus.BAD_REQUEST,
    ClientDisconnect: HTTPStatus.BAD_REQUEST,
    FullError: HTTPStatus.SERVICE_UNAVAILABLE,
    UpstreamError: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigError: HTTPStatus.SERVICE_UNAVAILABLE,
}


class ServiceApp:
    """Routes of one service: what its model can be asked, /health and /metrics."""

    def __init__(
        self,
        name: str,
        loading: Callable[[], Model],
        *,
        asks: Mapping[str, type],
        limits: Limits,
        file_root: Path | None = None,
    ) -> None:
        self._name = name
        self._asks = dict(asks) | ({_OLDER: asks[ANALYZE]} if ANALYZE in asks else {})
        self._metrics = Metrics(name)
        self.host = Host(name, loading, dict(asks), limits, self._metrics)
        self._door = door.Door(file_root)
        self.asgi = Starlette(
            routes=[
                *(Route(path, self._answer, methods=["GET", "POST"]) for path in self._asks),
                Route("/health", self._health),
                Route("/metrics", self._numbers),
            ],
            exception_handlers={HTTPException: self._refused},
        )

    async def _health(self, _: Request) -> JSONResponse:
        body: dict[str, Any] = {"status": "healthy", "service": self._name}
        try:
            await self.host.works()
        except Exception as exc:  # noqa: BLE001 -- whatever it is, it is the reason
            body |= {"status": "broken", "reason": _told(exc)}
        info = self.host.info
        body |= {"loaded": info is not None} | ({"model": info.shown()} if info else {})
        return JSONResponse(body, 200 if body["status"] == "healthy" else 503)

    async def _numbers(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _answer(self, request: Request) -> JSONResponse:
        started = time.perf_counter()
        path = request.url.path
        try:
            with self.host.admitted():
                response = await self._asked(request, started)
        except FullError as exc:
            await uploads.discarded(request)  # or a client that is still sending never reads why
            response = self._error(exc, started)
            response.headers["Retry-After"] = str(exc.retry_after)
        except tuple(_STATUS) as exc:
            response = self._error(exc, started)
        except HTTPException as exc:  # of a form that is none
            response = self._shaped(exc.status_code, str(exc.detail), started)
        except Exception as exc:
            log.exception("%s: nobody foresaw this", self._name)
            response = self._shaped(500, _told(exc), started)
        self._metrics.request(path, response.status_code, time.perf_counter() - started)
        return response

    async def _asked(self, request: Request, started: float) -> JSONResponse:
        path = ANALYZE if request.url.path == _OLDER else request.url.path
        received = await self._door.received(request, self._asks[path])
        info: Info | None
        try:
            reply, info = await self.host.ask(path, received)
        except NothingToEmbed:  # which is an answer
            reply, info = {"embedding": None}, self.host.info
        metadata = {"processing_time": _since(started), "model_info": info.shown() if info else {}}
        return JSONResponse({"service": self._name, "status": "success", **reply, "metadata": metadata})

    def _error(self, exc: Exception, started: float) -> JSONResponse:
        status = next(status for kind, status in _STATUS.items() if isinstance(exc, kind))
        return self._shaped(status, _told(exc), started)

    def _shaped(self, status: int, message: str, started: float) -> JSONResponse:
        body = {
            "service": self._name,
            "status": "error",
            "predictions": [],
            "error": {"message": message},
            "metadata": {"processing_time": _since(started)},
        }
        return JSONResponse(body, status)

    async def _refused(self, _: Request, exc: Any) -> JSONResponse:
        """A path that is not here, or a method that it does not know."""
        self._metrics.request("other", exc.status_code, 0.0)
        return self._shaped(exc.status_code, str(exc.detail), time.perf_counter())


def _told(exc: Exception) -> str:
    """What a stranger is told: our own words, but of an error that nobody foresaw only its kind."""
    if isinstance(exc, ClientDisconnect):
        return "the upload ended before its end"
    return str(exc) if isinstance(exc, tuple(_STATUS)) else f"internal error: {type(exc).__name__}"


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
