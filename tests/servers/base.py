"""What all servers have in common: a port, a folder, a process, and an account that is not root."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil

from tests.servers.certificates import Certificates

INSTALL = "tests/servers/install.sh installs it"
_START, _STOP = 120.0, 60.0  # seconds

# Below every system's range of ephemeral ports: from inside it, a client that knocks while its server is
# down can be given the server's port as its own, and so connect to itself or keep the server from binding.
_ALL_PORTS = range(15_000, 32_000)
# Each worker of pytest-xdist has ports of its own: what one has chosen and not yet bound, no other chooses.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PORTS = _ALL_PORTS[_WORKER::_WORKERS]
_given: set[int] = set()

# Ends a server whose test run was killed, be it by SIGKILL: the pipe on stdin is then closed without a word.
_WATCH = """
read -r _ && exit 0
kill -s "$1" "$2"
tries=0
while kill -0 "$2" && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -s KILL -- "-$2"
rm -rf "$3"
shift 3
"$@"
"""


class MissingServerError(Exception):
    """A server's binary is not on this machine."""


def free_port() -> int:
    """A port on loopback that nobody listens on, another at every call: the first may not be bound yet."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def find(name: str, *folders: str) -> Path:
    """A binary on PATH or in `folders` (globs; the newest wins). Raises `MissingServerError`."""
    candidates = [path for folder in folders for path in Path("/").glob(f"{folder.lstrip('/')}/{name}")]
    on_path = shutil.which(name)
    if candidates:
        return max(candidates, key=lambda path: [int(n) for n in path.as_posix().split("/") if n.isdecimal()])
    if on_path:
        return Path(on_path)
    raise MissingServerError(f"{name} is not installed: {INSTALL}")


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _await_end(processes: list[psutil.Process]) -> None:
    """Waits until they have ended; that their new parent collects them may take seconds more."""
    deadline = time.monotonic() + _STOP
    while any(_runs(one) for one in processes):
        if time.monotonic() > deadline:
            raise RuntimeError(f"survived SIGKILL: {processes}")
        time.sleep(0.01)  # between looks at a condition with a deadline


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Server:
    """A server process with its data in a folder that survives stop, kill and start, but not `remove`.

    `with Postgres() as server:` starts it and removes it. With `tls` it speaks TLS.
    """

    user = "nobody"  # whom it runs as when we are root
    end = signal.SIGTERM  # asks it to stop in good order

    def __init__(self, tls: Certificates | None = None) -> None:
        self.tls = tls
        self.host = "127.0.0.1"
        self.port = free_port()
        # Not TMPDIR: root's may be closed to `user`, and a socket's path has room for 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix=f"windmill-{type(self).__name__.lower()}-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
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

    def cleanup(self) -> list[str]:
        """The command that ends what outlives the server's process."""
        return ["true"]

    def start(self) -> Self:
        """Starts the server and returns once it answers."""
        if not self._prepared:
            self.give_folder()
            self.prepare()
            if self.tls:
                self.store(self.tls.server())
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
        self._watch = self._watcher(self.process.pid)
        self._await_answer(self.process)
        return self

    def stop(self) -> None:
        """Stops the server in good order; by force if it will not."""
        if self.process is None:
            return
        self.process.send_signal(self.end)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP)
        self.kill()

    def kill(self) -> None:
        """Stops the server as a power cut would: it and every process that it started, at once."""
        if self.process is None:
            return
        family = _descendants(self.process.pid)
        self.process.kill()
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(_STOP)
        self.process = None
        _await_end(family)
        self._watch.communicate(b"it has ended\n")

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stops the server and deletes its data."""
        self.stop()
        subprocess.run(self.cleanup(), check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _watcher(self, pid: int) -> subprocess.Popen[bytes]:
        words = [self.end.name.removeprefix("SIG"), str(pid), str(self.folder), *self.cleanup()]
        return subprocess.Popen(
            ["sh", "-c", _WATCH, "watch", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the test run
        )

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START
        while not (self._listens() and self.answers()):
            if process.poll() is not None or time.monotonic() > deadline:
                log = (self.folder / "log.txt").read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{type(self).__name__} did not start:\n{log}")
            time.sleep(0.02)  # between looks at a condition with a deadline

    def _listens(self) -> bool:
        """Spares the client libraries, some of which log an error for every refusal."""
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

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

    def store(self, files: dict[str, bytes]) -> None:
        """Writes files that only the server's account may read."""
        for name, content in files.items():
            path = self.folder / name
            path.write_bytes(content)
            path.chmod(0o600)
            if os.geteuid() == 0:
                record = pwd.getpwnam(self.user)
                os.chown(path, record.pw_uid, record.pw_gid)

    def present(self, files: dict[str, bytes]) -> None:
        """Has the running server show another certificate from now on."""
        self.store(files)
        self.reload_certificate()

    def reload_certificate(self) -> None:
        raise NotImplementedError

    def once(self, *command: str, given: str = "") -> str:
        """Runs a command to its end, as the server's account; gives what it said."""
        done = subprocess.run(
            command,
            env=self.environment(),
            cwd=self.folder,
            check=False,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **self.account(),
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return done.stdout
