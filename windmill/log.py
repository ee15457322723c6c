"""Logging for every command: one line an event, to standard error."""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from windmill.plain import line

# They say twice what our errors say once, or what only their authors ask for.
_QUIET = ("pika", "mysql", "urllib3", "PIL", "asyncio", "uvicorn", "faiss", "milvus_lite")

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """Nothing that a message quotes begins a line of its own: neither a new event, nor a terminal's order."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        record.message = line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _Raised) -> str:  # noqa: N802
        """The traceback, moved in: an error's text in it cannot look like an event either."""
        return "\n".join(f"  | {line(part)}" for part in super().formatException(ei).split("\n"))


def configure(level: str, name: str = "windmill") -> None:
    """Logs at `level` and above, each line with its time and `name`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter(f"%(asctime)s %(levelname)-7s {name}: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in _QUIET:
        logging.getLogger(library).setLevel(logging.CRITICAL)
