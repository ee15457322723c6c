"""How a peer's process begins when it is told to (`bench.rivals.signalled`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def at_the_signal() -> Iterator[None]:
    """What is in this block runs between a line that comes and one that goes."""
    print("ready", flush=True)
    sys.stdin.readline()
    yield
    print("done", flush=True)
    sys.stdin.readline()  # what it used is read while it lives
