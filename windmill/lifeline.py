"""Processes that end with their parent, however it ends.

The parent holds the writing end of a pipe and never writes. Its child reads: the end of the file means that
the parent is gone, even by `kill -9`, on every Unix.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

VARIABLE = "WINDMILL_LIFELINE_FD"
_GRACE = 20.0  # seconds to end in good order once the parent is gone


def follow_parent() -> None:
    """Ends this process, in good order if it can, once its parent is gone; nothing if it has no lifeline."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        threading.Thread(target=_await_end, args=(int(descriptor),), name="lifeline", daemon=True).start()


def _await_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE)
    os._exit(1)


def keep(command: Sequence[str], *, user: int | None, stop_with: signal.Signals) -> int:
    """Runs a program that knows nothing of lifelines, and stops it when we are told to stop."""
    account = {} if user is None else {"user": user, "group": user, "extra_groups": ()}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **account)  # type: ignore[call-overload]  # noqa: S603
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.send_signal(stop_with))
    follow_parent()
    return int(process.wait())


def main() -> int:
    """`python -m windmill.lifeline USER|- SIGNAL COMMAND…`"""
    user, stop_with, *command = sys.argv[1:]
    return keep(command, user=None if user == "-" else int(user), stop_with=signal.Signals[stop_with])


if __name__ == "__main__":
    sys.exit(main())
