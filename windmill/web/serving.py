"""The web app on its port."""

from __future__ import annotations

import asyncio
import logging

from windmill.services import listening
from windmill.web.app import create
from windmill.web.guard import Rules
from windmill.web.library import Library

log = logging.getLogger(__name__)

_CONNECTIONS = 500  # at once; a browser has six


def serve(library: Library, rules: Rules, host: str, port: int) -> None:
    """Answers until SIGTERM or Ctrl-C. Raises `ConfigError`."""
    with listening.bound("web", host, port) as socket:
        listening.listen("web", socket)
        host, port = socket.getsockname()[:2]
        log.info("http://%s:%d/", f"[{host}]" if ":" in host else host, port)
        apps = {"web": create(library, rules)}
        asyncio.run(
            listening.serve(apps, {"web": socket}, limit_concurrency=_CONNECTIONS, server_header=False)
        )
