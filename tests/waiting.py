"""Waiting for a condition in another process, with a deadline and the reason when it passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_LOOK = 0.05  # seconds between looks


def until(
    condition: Callable[[], object],
    patience: float,
    alive: Callable[[], bool] = lambda: True,
    log: Path | None = None,
) -> None:
    """Returns once `condition` holds; fails after `patience` seconds, or when `alive` no longer holds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline or not alive():
            said = log.read_text("utf-8", "replace")[-3000:] if log else ""
            raise AssertionError(f"not within {patience:g} s:\n{said}")
        time.sleep(_LOOK)
