"""CPU time and memory of whole process trees: a server's, a worker's with its decoders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Family:
    """A process and all that came of it: CPU seconds so far, and MB at the peak of each, added up."""

    seconds: float
    peak: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What each tree has used, by its name."""

    families: Mapping[str, Family]

    def since(self, before: Usage) -> dict[str, float]:
        """CPU seconds of each tree between two looks."""
        return {name: one.seconds - before.families[name].seconds for name, one in self.families.items()}


def family(pid: int) -> Family:
    """The tree of a process. Those that ended count with the parent that waited for them."""
    seconds = peak = 0.0
    for process in _members(psutil.Process(pid)):
        try:
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
            peak += _peak(process.pid)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue  # it ended between two looks
    return Family(seconds, peak)


def _members(root: psutil.Process) -> Iterator[psutil.Process]:
    yield root
    yield from root.children(recursive=True)


def _peak(pid: int) -> float:
    found = _PEAK.search(Path(f"/proc/{pid}/status").read_text("ascii", "replace"))
    return int(found[1]) / 1e3 if found else 0.0
