"""Errors as a browser and a program get them: a status, and `{"error": {"message": …}}`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from windmill.errors import (
    ConfigError,
    DecoderError,
    ImageError,
    ImageTooLargeError,
    IndexDamaged,
    OtherEmbedder,
    ServiceError,
    ServiceRejected,
    StoreError,
    WindmillError,
)
from windmill.services.base import RequestError
from windmill.services.uploads import SlowUploadError
from windmill.web.library import Unknown

log = logging.getLogger(__name__)

_AGAIN = 2  # seconds after which it is worth another try, where nobody knows better


class FullError(WindmillError):
    """More is being done than is done at once."""


# The first that fits; of what is not here a stranger is told nothing but that it happened.
STATUS: Mapping[type[WindmillError], HTTPStatus] = {
    Unknown: HTTPStatus.NOT_FOUND,
    ImageTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageError: HTTPStatus.BAD_REQUEST,
    SlowUploadError: HTTPStatus.REQUEST_TIMEOUT,
    RequestError: HTTPStatus.BAD_REQUEST,
    IndexDamaged: HTTPStatus.SERVICE_UNAVAILABLE,  # these two are no fault of who asks
    OtherEmbedder: HTTPStatus.SERVICE_UNAVAILABLE,
    ConfigError: HTTPStatus.BAD_REQUEST,
    ServiceRejected: HTTPStatus.BAD_REQUEST,
    FullError: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    DecoderError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The one shape of all errors."""
    return JSONResponse({"error": {"message": message}}, status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Has the app answer so, whatever happens."""
    app.add_exception_handler(WindmillError, _foreseen)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


async def _foreseen(request: Request, exc: Exception) -> JSONResponse:
    status = next((status for kind, status in STATUS.items() if isinstance(exc, kind)), None)
    if status is None:
        return await _unforeseen(request, exc)
    if status is not HTTPStatus.SERVICE_UNAVAILABLE:
        return refusal(status, str(exc))
    log.warning("%s: %s", request.url.path, exc)
    seconds = getattr(exc, "retry_after", None) or _AGAIN
    return refusal(status, str(exc), {"Retry-After": str(math.ceil(seconds))})


async def _invalid(_: Request, exc: Exception) -> JSONResponse:
    """Parameters that are none: each with its name, and what would do."""
    assert isinstance(exc, RequestValidationError)  # noqa: S101 -- so it was registered
    return refusal(HTTPStatus.BAD_REQUEST, complaints(exc.errors()))


def complaints(errors: Any) -> str:
    """What pydantic has to say, as a sentence."""
    return "; ".join(f"{one['loc'][-1]}: {one['msg'][:1].lower()}{one['msg'][1:]}" for one in errors)


async def _http(_: Request, exc: Exception) -> JSONResponse:
    """No such path, a method that it does not know, a form that is none."""
    assert isinstance(exc, HTTPException)  # noqa: S101 -- so it was registered
    return refusal(exc.status_code, str(exc.detail), exc.headers)


async def _gone(_: Request, exc: Exception) -> JSONResponse:
    log.debug("the upload ended before its end: %s", type(exc).__name__)
    return refusal(HTTPStatus.BAD_REQUEST, "the upload ended before its end")


async def _unforeseen(request: Request, exc: Exception) -> JSONResponse:
    log.error("%s: nobody foresaw this", request.url.path, exc_info=exc)
    return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(exc).__name__}")
