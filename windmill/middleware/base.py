"""What a middleware is told; each does one thing with it."""

from __future__ import annotations

from typing import Protocol

from windmill.model import Handled


class Middleware(Protocol):
    """Is told what becomes of every job of a worker. Must neither raise nor wait."""

    def settled(self, handled: Handled) -> None:
        """The job's rows are committed, its followers published, its message settled."""
        ...

    def parked(self, reason: str) -> None:
        """The service, the store or the broker is down; jobs in hand wait."""
        ...

    def resumed(self) -> None:
        """It is back."""
        ...
