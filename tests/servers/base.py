"""What all servers have in common: a port, a folder, a process, and an account that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

INSTALL = "tests/servers/install.sh installs it"
_START, _STOP = 60.0, 20.0  # seconds


class MissingServerError(Exception):
    """A server's binary is not on this machine."""


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find(name: str, *folders: str) -> Path:
    """A binary on PATH or in `folders` (globs; the newest wins). Raises `MissingServerError`."""
    candidates = [path for folder in folders for path in Path("/").glob(f"{folder.lstrip('/')}/{name}")]
    on_path = shutil.which(name)
    if candidates:
        return max(candidates, key=lambda path: [int(n) for n in path.as_posix().split("/") if n.isdecimal()])
    if on_path:
        return Path(on_path)
    raise MissingServerError(f"{name} is not installed: {INSTALL}")


class Server:
    """A server process with its data in a folder that survives stop, kill and start, but not `remove`."""

    user = "nobody"  # whom it runs as when we are root

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"windmill-{type(self).__name__.lower()}-"))
        self.folder.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    def prepare(self) -> None:
        """Makes the data folder; once."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def answers(self) -> bool:
        """Whether a client gets through."""
        raise NotImplementedError

    def start(self) -> Self:
        """Starts the server and returns once it answers."""
        if not self._prepared:
            self.give_folder()
            self.prepare()
            self._prepared = True
        log = (self.folder / "log.txt").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                **self.account(),
            )
        self._await(self.answers, _START)
        return self

    def stop(self) -> None:
        """Stops the server in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stops the server as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(_STOP)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(_STOP)
        self.process = None

    def _await(self, condition: object, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not self.answers():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "log.txt").read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{type(self).__name__} did not start:\n{log}")
            time.sleep(0.02)  # between looks at a condition with a deadline

    # --- accounts ------------------------------------------------------------------------------------

    def account(self) -> dict[str, object]:
        """Popen's arguments for whom the server runs as: these servers refuse root."""
        if os.geteuid() != 0:
            return {}
        record = pwd.getpwnam(self.user)
        return {"user": record.pw_uid, "group": record.pw_gid, "extra_groups": []}

    def give_folder(self) -> None:
        if os.geteuid() == 0:
            record = pwd.getpwnam(self.user)
            os.chown(self.folder, record.pw_uid, record.pw_gid)

    def once(self, *command: str, **environment: str) -> None:
        """Runs a command to its end, as the server's account."""
        subprocess.run(
            command,
            env={**self.environment(), **environment},
            cwd=self.folder,
            check=True,
            capture_output=True,
            **self.account(),
        )
