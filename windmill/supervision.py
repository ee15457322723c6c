"""This box's workers under supervisor: which exist, how many of each, and how they are.

Each folder of run-time state (RUN_DIR) has a supervisord of its own, reached by its socket; nothing is ever
looked up by name or by process id, so no process that was not started here is touched.

Workers inherit the environment and the current folder of the command that started their supervisord: `.env`
and relative paths mean the same to them as to that command.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from windmill.catalog import STAGES, Catalog
from windmill.errors import ConfigError
from windmill.settings import Settings

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]  # the checkout, with workers/
_LONGEST_SOCKET = 100  # bytes; Linux takes 107, macOS 103
_LOG_MB, _LOG_FILES = 20, 5
_PATIENCE = 30.0  # seconds for supervisord to come up, or workers to run
_COMING_UP = 12.0  # seconds after which a worker that still fails to start is shown as it is
_LOOK = 0.1  # seconds between looks
_STARTING = {"STARTING", "BACKOFF"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One worker process as supervisor sees it; `log` is where it writes."""

    worker: str
    number: int
    state: str
    pid: int
    uptime: float
    description: str
    log: Path


def workers(catalog: Catalog, folder: Path = ROOT / "workers") -> dict[str, list[str]]:
    """Command of each worker that this box's catalog asks for, by name.

    A stage runs `workers/<stage>_worker.py`, everything else the generic worker.
    """
    commands = {}
    for name in catalog.services:
        own = folder / f"{name}_worker.py"
        script = [str(own)] if name in STAGES and own.is_file() else [str(folder / "generic_worker.py"), name]
        commands[name] = [sys.executable, *script]
    return commands


class Supervisor:
    """The supervisord of one RUN_DIR."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self._settings = settings
        self._commands = workers(catalog)
        self._run = settings.run_dir.absolute()
        self._logs = settings.log_dir.absolute()
        self._socket = _socket(self._run)

    def running(self) -> bool:
        """Whether our supervisord answers."""
        with suppress(OSError, xmlrpc.client.Error):
            return str(self._call("getState")["statename"]) == "RUNNING"
        return False

    def start(self, names: Iterable[str], count: int | None) -> None:
        """Has `count` processes of each worker (None: as many as last time, or one), and starts them."""
        chosen = self._known(names)
        counts = self._counts()
        counts |= {name: count if count is not None else counts.get(name) or 1 for name in chosen}
        self._configure(counts)
        if self.running():
            self._reload()
        else:
            self._launch()
        for name in chosen:
            with _already():
                self._call("startProcessGroup", name, False)

    def stop(self, names: Iterable[str]) -> None:
        """Stops these workers, as gracefully as they can; the others go on."""
        for name in self._known(names):
            with _already():
                self._call("stopProcessGroup", name, True)

    def shut_down(self) -> None:
        """Stops all workers and supervisord itself, and returns once nothing of them is left."""
        pid = int(self._call("getPID"))
        self._call("shutdown")
        deadline = time.monotonic() + self._settings.shutdown_grace + _PATIENCE
        while _exists(pid):
            if time.monotonic() > deadline:
                raise ConfigError(f"supervisord (process {pid}) is still stopping; look into {self._logs}")
            time.sleep(_LOOK)

    def processes(self) -> Sequence[Process]:
        """All processes, in the catalog's order."""
        order = list(self._commands)
        rows = [self._process(raw) for raw in self._call("getAllProcessInfo")]
        known = {name: number for number, name in enumerate(order)}
        return sorted(rows, key=lambda one: (known.get(one.worker, len(order)), one.number))

    def settle(self, names: Sequence[str]) -> Sequence[Process]:
        """The processes of these workers, once none of them is on its way up any more."""
        deadline = time.monotonic() + _COMING_UP
        while True:
            rows = [one for one in self.processes() if one.worker in names]
            if not any(one.state in _STARTING for one in rows) or time.monotonic() > deadline:
                return rows
            time.sleep(_LOOK)

    # --- configuration -------------------------------------------------------------------------------

    def _configure(self, counts: Mapping[str, int]) -> None:
        """Writes what supervisord reads. Settings are inherited, so that no password stands in it."""
        for folder in (self._run, self._logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self._run / "counts.json").write_text(json.dumps(counts), "utf-8")
        config = configuration(
            {name: self._commands[name] for name in counts if name in self._commands},
            counts,
            run=self._run,
            logs=self._logs,
            socket=self._socket,
            grace=self._settings.shutdown_grace,
        )
        with (self._run / "supervisord.conf").open("w", encoding="utf-8") as file:
            config.write(file)

    def _counts(self) -> dict[str, int]:
        path = self._run / "counts.json"
        counts: dict[str, int] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        return {name: count for name, count in counts.items() if name in self._commands}

    def _known(self, names: Iterable[str]) -> Sequence[str]:
        chosen = list(names) or list(self._commands)
        for name in chosen:
            if name not in self._commands:
                known = ", ".join(self._commands)
                raise ConfigError(f"{name}: no such worker; {self._settings.service_config} lists {known}")
        return chosen

    # --- supervisord ---------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._socket.unlink(missing_ok=True)  # nobody answered on it
        # -P: it starts in whatever folder the command was given in, where a file may be called like a module
        command = [sys.executable, "-P", "-W", "ignore", "-m", "supervisor.supervisord", "-c"]
        done = subprocess.run(  # noqa: S603 -- our own supervisord
            [*command, str(self._run / "supervisord.conf")],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if done.returncode != 0:
            raise ConfigError(f"supervisord did not start: {(done.stderr or done.stdout).strip()}")
        deadline = time.monotonic() + _PATIENCE
        while not self.running():
            if time.monotonic() > deadline:
                raise ConfigError(f"supervisord does not answer; look into {self._logs / 'supervisord.log'}")
            time.sleep(_LOOK)

    def _reload(self) -> None:
        """Has supervisord read its configuration again; groups that did not change are left alone."""
        ((added, changed, removed),) = self._call("reloadConfig")
        for name in (*changed, *removed):
            with _already():
                self._call("stopProcessGroup", name, True)
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)

    def _call(self, method: str, *arguments: object) -> Any:
        """Calls supervisord, on a new connection: supervisor's transport does not survive a refusal."""
        transport = SupervisorTransport("", "", f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _process(self, raw: Mapping[str, Any]) -> Process:
        running = raw["statename"] == "RUNNING"
        return Process(
            worker=raw["group"],
            number=int(raw["name"].rsplit("-", 1)[-1]),
            state=raw["statename"],
            pid=raw["pid"],
            uptime=float(raw["now"] - raw["start"]) if running else 0.0,
            description=raw["spawnerr"] or raw["description"],
            log=Path(raw["stdout_logfile"]),
        )


def configuration(
    commands: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    *,
    run: Path,
    logs: Path,
    socket: Path,
    grace: float,
) -> configparser.RawConfigParser:
    """supervisord's configuration: one group a worker, `counts` processes in it."""
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": str(socket), "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    config["supervisord"] = {
        "logfile": str(logs / "supervisord.log"),
        "logfile_maxbytes": f"{_LOG_MB}MB",
        "logfile_backups": str(_LOG_FILES),
        "pidfile": str(run / "supervisord.pid"),
        "identifier": "windmill",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    for name, command in commands.items():
        config[f"program:{name}"] = {
            "command": " ".join(_quoted(word) for word in command),
            "numprocs": str(counts[name]),
            "process_name": "%(program_name)s-%(process_num)d",
            "autostart": "false",
            "autorestart": "true",
            "startsecs": "2",
            "startretries": "10",
            "stopwaitsecs": str(int(grace) + 10),
            "redirect_stderr": "true",
            "stdout_logfile": str(logs / "%(program_name)s-%(process_num)d.log"),
            "stdout_logfile_maxbytes": f"{_LOG_MB}MB",
            "stdout_logfile_backups": str(_LOG_FILES),
        }
    return config


def _quoted(word: str) -> str:
    """A word of a command as supervisor reads it: quotes for the shell, %% for a percent sign."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _socket(run: Path) -> Path:
    """In the run folder, or, where that path is too long for a socket, in the temporary folder."""
    path = run / "supervisor.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    name = hashlib.sha256(str(run).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"windmill-{os.geteuid()}-{name}.sock"


class _already(suppress):  # noqa: N801 -- reads like `suppress`
    """Suppresses supervisor's "already started" and "not running"; other faults come through."""

    def __init__(self) -> None:
        super().__init__(xmlrpc.client.Fault)

    def __exit__(self, kind: Any, value: Any, trace: Any) -> bool:
        harmless = ("ALREADY_STARTED", "NOT_RUNNING")
        return isinstance(value, xmlrpc.client.Fault) and value.faultString.startswith(harmless)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
