"""Several services in one process, each on its own port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from windmill.errors import ConfigError
from windmill.services import listening, onnx_session, registry
from windmill.services.app import ServiceApp
from windmill.services.host import Limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What to serve, name → port, and how.

    `lazy`: load a model when the first request comes. `tolerant`: leave out what cannot be loaded.
    """

    ports: Mapping[str, int]
    host: str
    limits: Limits
    lazy: bool = False
    tolerant: bool = False
    file_root: Path | None = None


def serve(wanted: Serving) -> None:
    """Serves models until SIGTERM or Ctrl-C.

    Ports are taken before anything is loaded, and answered once all is. Raises `ConfigError`.
    """
    cv2.setNumThreads(onnx_session.THREADS)
    with contextlib.ExitStack() as open_sockets:
        sockets = {}
        for name, port in wanted.ports.items():
            sockets[name] = open_sockets.enter_context(listening.bound(name, wanted.host, port))
        apps = {name: app for name in wanted.ports if (app := _app(name, wanted))}
        for name in apps:
            listening.listen(name, sockets[name])
            host, port = sockets[name].getsockname()[:2]
            log.info("%s: http://%s:%d/v3/analyze", name, host, port)
        asyncio.run(listening.serve({name: app.asgi for name, app in apps.items()}, sockets))


def _app(name: str, wanted: Serving) -> ServiceApp | None:
    """The service, its model loaded; None where that cannot be and need not. Raises `ConfigError`."""
    app = ServiceApp(
        name,
        partial(registry.load, name),
        asks=registry.SERVICES[name].asks,
        limits=wanted.limits,
        file_root=wanted.file_root,
    )
    try:
        if not wanted.lazy:
            app.host.load()
    except ConfigError as exc:
        if not wanted.tolerant:
            raise
        log.warning("%s: left out: %s", name, exc)
        return None
    return app
