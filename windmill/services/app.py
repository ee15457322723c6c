"""One service's HTTP application: `docs/service-api.md` to the letter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from windmill.errors import ImageError, ImageTooLargeError
from windmill.services import door
from windmill.services.base import Model, Prediction
from windmill.services.inference import Inference

log = logging.getLogger(__name__)

_ENDPOINTS = ("/v3/analyze", "/analyze")
_IN_HAND = 2  # decoded photos, up to 150 MB each: one is looked at while the next is decoded
_FETCHING = 8  # addresses read at once


class ServiceApp:
    """Routes of one service. One thread runs its model; requests wait for it in turn."""

    def __init__(self, name: str, model: Model, *, file_root: Path | None = None) -> None:
        self._name = name
        self._inference = Inference(name, model)
        self._file_root = file_root
        self._in_hand = asyncio.Semaphore(_IN_HAND)
        self._fetching = anyio.CapacityLimiter(_FETCHING)
        self.asgi = Starlette(
            routes=[
                *(Route(path, self._analyze, methods=["GET", "POST"]) for path in _ENDPOINTS),
                Route("/health", self._health),
            ],
            exception_handlers={
                HTTPException: self._refused,
                ClientDisconnect: self._gone,
                Exception: self._broken,
            },
        )

    async def _health(self, _: Request) -> JSONResponse:
        works = await self._inference.works()
        body = {
            "status": "healthy" if works else "broken",
            "service": self._name,
            "model": self._inference.info,
        }
        return JSONResponse(body, 200 if works else 503)

    async def _analyze(self, request: Request) -> JSONResponse:
        started = time.perf_counter()
        try:
            predictions = await self._look(*await self._received(request))
        except ImageTooLargeError as exc:
            return self._error(413, str(exc), started)
        except ImageError as exc:
            return self._error(400, str(exc), started)
        return self._reply(predictions, started)

    async def _received(self, request: Request) -> tuple[str, bytes]:
        """The image's name and bytes, by whichever of the three ways it came."""
        if "url" in request.query_params:
            url = request.query_params["url"]
            return url, await anyio.to_thread.run_sync(door.from_url, url, limiter=self._fetching)
        if "file" in request.query_params:
            path = request.query_params["file"]
            return path, await anyio.to_thread.run_sync(door.from_path, path, self._file_root)
        if request.method != "POST":
            raise ImageError("no image: POST it as field `file`, or name it as ?url= or ?file=")
        return await door.uploaded(request)

    async def _look(self, name: str, data: bytes) -> Sequence[Prediction]:
        async with self._in_hand:
            photo = await anyio.to_thread.run_sync(door.photo, name, data)
            return await self._inference.predict(photo)

    def _reply(self, predictions: Sequence[Prediction], started: float) -> JSONResponse:
        return JSONResponse(
            {
                "service": self._name,
                "status": "success",
                "predictions": list(predictions),
                "metadata": {"processing_time": _since(started), "model_info": self._inference.info},
            }
        )

    def _error(self, status: int, message: str, started: float) -> JSONResponse:
        body = {
            "service": self._name,
            "status": "error",
            "predictions": [],
            "error": {"message": message},
            "metadata": {"processing_time": _since(started)},
        }
        return JSONResponse(body, status)

    async def _refused(self, _: Request, exc: Any) -> JSONResponse:
        return self._error(exc.status_code, str(exc.detail), time.perf_counter())

    async def _gone(self, _: Request, __: Exception) -> JSONResponse:
        return self._error(400, "the upload ended before its end", time.perf_counter())

    async def _broken(self, _: Request, exc: Exception) -> JSONResponse:
        log.error("%s: nobody foresaw this", self._name, exc_info=exc)
        return self._error(500, f"internal error: {type(exc).__name__}", time.perf_counter())


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
