"""Worker processes, kept running as a supervisor does, and killed as the case wants."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from windmill.lifeline import VARIABLE

ROOT = Path(__file__).parents[1]
_LOOK = 0.05  # seconds between looks at who died
_PATIENCE = 60.0  # seconds for a worker to end


@dataclass(slots=True)
class _Worker:
    name: str
    process: subprocess.Popen[bytes]


class Fleet:
    """A context manager; at its end nothing of it is left, even if this process is killed."""

    def __init__(self, environment: Mapping[str, str], logs: Path, tampered: Mapping[str, str]) -> None:
        self._environment = environment
        self._logs = logs
        self._tampered = tampered  # how, by worker's name; "" for all others
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._theirs, self._ours = os.pipe()
        self.deaths = 0

    def start(self, counts: Mapping[str, int]) -> None:
        """Starts so many of each, and has them started again when they die."""
        with self._lock:
            self._workers += [self._new(name) for name, count in counts.items() for _ in range(count)]

    def kill(self, name: str) -> None:
        """`kill -9` of one process of a worker; it comes back by itself."""
        with self._lock:
            alive = [one for one in self._workers if one.name == name and one.process.poll() is None]
            random.choice(alive).process.kill() if alive else None

    def stop(self) -> dict[str, int]:
        """SIGTERM to all at once; gives the exit status of each process, by name and pid."""
        with self._lock:
            stopped, self._workers = self._workers, []
        for one in stopped:
            one.process.terminate()
        return {f"{one.name} {one.process.pid}": _end(one.process) for one in stopped}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of Windmill to its end."""
        return subprocess.run(
            self._command("", words), cwd=ROOT, env=dict(self._environment), capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip

    def begin(self, how: str, *words: str) -> subprocess.Popen[bytes]:
        """Starts a command of Windmill, tampered with or not."""
        return self._spawn(self._command(how, words), self._logs / f"{words[0]}.log")

    def __enter__(self) -> Fleet:
        threading.Thread(target=self._keep, name="fleet", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:
            for one in self._workers:
                one.process.kill()
            for one in self._workers:
                one.process.wait()
        for descriptor in (self._theirs, self._ours):
            os.close(descriptor)

    def _keep(self) -> None:
        while not self._ended.wait(_LOOK):
            with self._lock:
                for one in self._workers:
                    if one.process.poll() is not None and not self._ended.is_set():
                        self.deaths += 1
                        one.process = self._new(one.name).process

    def _new(self, name: str) -> _Worker:
        how = self._tampered.get(name, self._tampered.get("", ""))
        return _Worker(name, self._spawn(self._command(how, ["work", name]), self._logs / f"{name}.log"))

    def _command(self, how: str, words: Sequence[str]) -> list[str]:
        module = ["chaos.tampered", how] if how else ["windmill"]
        return [sys.executable, "-m", *module, *words]

    def _spawn(self, command: Iterable[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**self._environment, VARIABLE: str(self._theirs)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(self._theirs,),
                start_new_session=True,  # Ctrl-C is for the harness
            )


def _end(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return -signal.SIGKILL


def await_all(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Exit statuses, once all have ended."""
    return [one.wait(_PATIENCE) for one in processes]


def pause(seconds: float) -> None:
    """How long a disturbance lasts; a case waits for nothing else by the clock."""
    time.sleep(seconds)
