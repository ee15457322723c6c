"""Logging for every command: one line an event, to standard error."""

from __future__ import annotations

import logging
import sys

_QUIET = ("pika", "mysql", "urllib3", "PIL", "asyncio", "uvicorn")  # they say twice what our errors say once


def configure(level: str, name: str = "windmill") -> None:
    """Logs at `level` and above, each line with its time and `name`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {name}: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in _QUIET:
        logging.getLogger(library).setLevel(logging.CRITICAL)
