"""One service's HTTP application: `docs/service-api.md` to the letter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from windmill.errors import ImageError, ImageTooLargeError
from windmill.services import door
from windmill.services.base import Model, Photo, Prediction

log = logging.getLogger(__name__)

_OVERHEAD = 10_000  # bytes that a multipart body may have beside its file


class ServiceApp:
    """Routes of one service. One thread runs its model; requests wait for it in turn."""

    def __init__(self, name: str, model: Model, *, file_root: Path | None = None) -> None:
        self._name = name
        self._model = model
        self._file_root = file_root
        self._inference = ThreadPoolExecutor(1, thread_name_prefix=name)
        endpoints = ("/v3/analyze", "/analyze")
        self.asgi = Starlette(
            routes=[
                *(Route(path, self._analyze, methods=["GET", "POST"]) for path in endpoints),
                Route("/health", self._health),
            ],
            exception_handlers={HTTPException: self._refused, Exception: self._broken},
        )

    async def _health(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "healthy", "service": self._name, "model": self._model.info})

    async def _analyze(self, request: Request) -> JSONResponse:
        started = time.perf_counter()
        try:
            name, data = await self._received(request)
            photo = await anyio.to_thread.run_sync(door.photo, name, data)
            predictions = await self._predict(photo)
        except ImageTooLargeError as exc:
            return self._error(413, str(exc), started)
        except ImageError as exc:
            return self._error(400, str(exc), started)
        return self._reply(predictions, started)

    async def _received(self, request: Request) -> tuple[str, bytes]:
        """The image's name and bytes, by whichever of the three ways it came."""
        if "url" in request.query_params:
            url = request.query_params["url"]
            return url, await anyio.to_thread.run_sync(door.from_url, url)
        if "file" in request.query_params:
            path = request.query_params["file"]
            return path, await anyio.to_thread.run_sync(door.from_path, path, self._file_root)
        if request.method != "POST":
            raise ImageError("no image: POST it as field `file`, or name it as ?url= or ?file=")
        if int(request.headers.get("content-length", 0)) > door.MOST_BYTES + _OVERHEAD:
            raise ImageTooLargeError(f"the upload is larger than {door.MOST_BYTES / 1e6:g} MB")
        return await _uploaded(request)

    async def _predict(self, photo: Photo) -> Sequence[Prediction]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._inference, self._model.predict, photo)

    def _reply(self, predictions: Sequence[Prediction], started: float) -> JSONResponse:
        return JSONResponse(
            {
                "service": self._name,
                "status": "success",
                "predictions": list(predictions),
                "metadata": {"processing_time": _since(started), "model_info": self._model.info},
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

    async def _broken(self, _: Request, exc: Exception) -> JSONResponse:
        log.error("%s: nobody foresaw this", self._name, exc_info=exc)
        return self._error(500, f"internal error: {type(exc).__name__}", time.perf_counter())


async def _uploaded(request: Request) -> tuple[str, bytes]:
    async with request.form(max_files=1) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise ImageError("no image: POST it as multipart field `file`")
        return file.filename or "upload", await file.read()


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 4)
