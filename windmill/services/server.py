"""Several services in one process, each on its own port."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import uvicorn

from windmill.errors import ConfigError
from windmill.services import onnx_session, registry
from windmill.services.app import ServiceApp
from windmill.services.host import Limits

log = logging.getLogger(__name__)

_GRACE = 5  # seconds for requests under way when told to stop


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`, which stops all of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
            with _naming(name, wanted.host, port):
                sockets[name] = open_sockets.enter_context(_bound(wanted.host, port))
        apps = {name: app for name in wanted.ports if (app := _app(name, wanted))}
        for name in apps:
            with _naming(name, wanted.host, wanted.ports[name]):
                sockets[name].listen()  # only this finds that another, which was loading like us, was faster
        asyncio.run(_serve_all(apps, sockets))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on, and each reply on a kept connection waits 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def _naming(name: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ConfigError(f"{name}: cannot listen on {host}:{port}: {exc.strerror}") from exc


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


async def _serve_all(apps: Mapping[str, ServiceApp], sockets: Mapping[str, socket.socket]) -> None:
    servers = {
        name: _Server(
            uvicorn.Config(
                app.asgi, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE
            )
        )
        for name, app in apps.items()
    }

    def stop() -> None:
        for server in servers.values():
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    for name in servers:
        host, port = sockets[name].getsockname()[:2]
        log.info("%s: http://%s:%d/v3/analyze", name, host, port)
    await asyncio.gather(*(server.serve([sockets[name]]) for name, server in servers.items()))
