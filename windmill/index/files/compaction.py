"""Merges in the background, while an index is added to."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from windmill.index.files.store import FaissFiles
from windmill.index.store import VectorStore

log = logging.getLogger(__name__)


class Compaction:
    """Starts `windmill index merge` whenever one is due and none of its own is at work.

    It is a process of its own, with the lowest priority: its memory is free again afterwards, and whoever
    adds images does not wait. If another machine merges this index just now, the next look starts one.
    """

    def __init__(self, prefix: Path) -> None:
        self._prefix = prefix
        self._merging: subprocess.Popen[bytes] | None = None

    def __call__(self, store: VectorStore) -> None:
        """To be called when something was added."""
        if self._merging is not None and self._merging.poll() is None:
            return
        if isinstance(store, FaissFiles) and store.due():
            log.info("%s: much has come since the last merge: merging in the background", self._prefix)
            command = [sys.executable, "-m", "windmill", "index", "merge", "--gently", str(self._prefix)]
            try:
                self._merging = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 -- ourselves
            except OSError as exc:  # no memory, no processes: searching is slower until there are
                log.warning("%s: cannot be merged in the background: %s", self._prefix, exc)

    def wait(self) -> None:
        """Until the merge that was started last has ended, if there was one."""
        if self._merging is not None:
            self._merging.wait()
