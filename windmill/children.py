"""Child processes of one command: started here, watched here, and gone when it ends."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from windmill.errors import ChildDiedError
from windmill.lifeline import VARIABLE

_GRACE = 25.0  # seconds from SIGTERM to SIGKILL
_SAID = 8  # lines of a dead child's log that are shown


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path


class Children:
    """A context manager; at its end the children stop, the last one first.

    Ctrl-C in a terminal reaches the parent alone, which then stops them in that order.
    """

    def __init__(self) -> None:
        self._children: list[_Child] = []
        self._theirs, self._ours = os.pipe()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> None:
        """Starts a child whose output goes to `log`, and which follows us (`lifeline.follow_parent`)."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 -- our own programs
                command,
                env={**os.environ, **env, VARIABLE: str(self._theirs)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(self._theirs,),
                start_new_session=True,
            )
        self._children.append(_Child(name, process, log))

    def check(self) -> None:
        """Raises `ChildDiedError` if one of them has ended by itself."""
        for child in self._children:
            if child.process.poll() is not None:
                lines = child.log.read_text("utf-8", "replace").strip().splitlines()[-_SAID:]
                said = "\n  ".join(lines) or "nothing"
                raise ChildDiedError(
                    f"{child.name} ended by itself (status {child.process.returncode}); "
                    f"the end of {child.log}:\n  {said}"
                )

    def stop(self, name: str) -> None:
        """Stops one child, and returns once it is gone."""
        for child in [one for one in self._children if one.name == name]:
            self._end([child])
            self._children.remove(child)

    def close(self) -> None:
        """Stops all, each only after those that were started later."""
        while self._children:
            self._end([self._children.pop()])
        for descriptor in (self._theirs, self._ours):
            os.close(descriptor)

    def close_together(self, names: Sequence[str]) -> None:
        """Stops several at once, which do not need each other to stop."""
        chosen = [child for child in self._children if child.name in names]
        self._end(chosen)
        self._children = [child for child in self._children if child not in chosen]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _end(children: Sequence[_Child]) -> None:
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + _GRACE
        for child in children:
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
