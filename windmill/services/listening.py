"""ASGI applications on ports of their own, until this process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from windmill.errors import ConfigError

_GRACE = 5  # seconds for requests under way when told to stop


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`, which stops all of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound(name: str, host: str, port: int) -> socket.socket:
    """A socket with the address, for `name`; nobody is answered before `listen`. Raises `ConfigError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio leaves Nagle's algorithm on, and each reply on a kept connection waits 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        with _naming(name, host, port):
            made.bind((host, port))
    except ConfigError:
        made.close()
        raise
    return made


def listen(name: str, made: socket.socket) -> None:
    """Only this finds that another, which was getting ready like us, was faster. Raises `ConfigError`."""
    with _naming(name, *made.getsockname()[:2]):
        made.listen()


@contextlib.contextmanager
def _naming(name: str, host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ConfigError(f"{name}: cannot listen on {host}:{port}: {exc.strerror}") from exc


async def serve(apps: Mapping[str, ASGIApp], sockets: Mapping[str, socket.socket], **options: Any) -> None:
    """Answers until SIGTERM or Ctrl-C; `options` are uvicorn's."""
    servers = {
        name: _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE,
                **options,
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
    await asyncio.gather(*(server.serve([sockets[name]]) for name, server in servers.items()))
