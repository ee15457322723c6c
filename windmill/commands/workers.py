"""`windmill workers`: this box's workers, kept running."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from windmill import wiring
from windmill.errors import ConfigError
from windmill.plain import line
from windmill.progress import plain
from windmill.settings import Settings
from windmill.supervision import Process, Supervisor

_WELL = {"RUNNING"}

HELP = """\
Starts and stops the workers of this box. Which there are follows from service_config.json: each service that
it lists has a worker, and each stage (bbox_merger, consensus, bbox_colors, …). A worker that dies is started
again; logs are in logs/, one file a process, rotated. Workers run in the folder where the first of them was
started, and read its .env; ./workers.sh goes to the checkout for that.

  ./workers.sh start                 one of each
  ./workers.sh start yolov8 3        three of yolov8 (later `start yolov8 1` for one)
  ./workers.sh status                which run, since when; --json for scripts
  ./workers.sh restart               all, after a change of settings
  ./workers.sh stop blip             one worker
  ./workers.sh stop                  all; nothing is left running

Exit status: 0 as asked, 1 some worker does not run, 2 wrong settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("start", "stop", "restart", "status"))
    parser.add_argument("worker", nargs="?", metavar="WORKER", help="a worker; all if left out")
    parser.add_argument("count", nargs="?", type=_count, metavar="COUNT", help="processes of it, with start")
    parser.add_argument("--json", action="store_true", help="the status as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    supervisor = Supervisor(settings, wiring.services(settings))
    names = [args.worker] if args.worker else []
    if args.count is not None and args.action != "start":
        raise ConfigError("COUNT goes with start: ./workers.sh start WORKER COUNT")
    if args.action == "start":
        return _start(supervisor, names, args.count, as_json=args.json)
    if not supervisor.running():
        if args.action == "restart":
            return _start(supervisor, names, None, as_json=args.json)
        sys.stdout.write("[]\n" if args.json else "no workers are running here\n")
        return 0 if args.action == "stop" else 1
    if args.action == "status":
        return _show(supervisor.processes(), as_json=args.json)
    if args.action == "restart":
        return _restart(supervisor, names, as_json=args.json)
    if names:
        supervisor.stop(names)
    else:
        supervisor.shut_down()
    sys.stdout.write(f"stopped {args.worker or 'all workers'}\n")
    return 0


def _restart(supervisor: Supervisor, names: list[str], *, as_json: bool) -> int:
    """All with a new supervisord, which reads the environment anew; one within the old."""
    if names:
        supervisor.stop(names)
    else:
        names = sorted({one.worker for one in supervisor.processes()})
        supervisor.shut_down()
    return _start(supervisor, names, None, as_json=as_json)


def _start(supervisor: Supervisor, names: list[str], count: int | None, *, as_json: bool) -> int:
    supervisor.start(names, count)
    rows = supervisor.processes()
    return _show(supervisor.settle(names or [one.worker for one in rows]), as_json=as_json)


def _show(rows: Sequence[Process], *, as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in rows], default=str, indent=1) + "\n")
    else:
        Console().print(_table(rows))
        for one in rows:
            if one.state not in _WELL:
                sys.stderr.write(f"{one.worker}-{one.number}: {one.state}: {line(_last_words(one))}\n")
    return 0 if rows and all(one.state in _WELL for one in rows) else 1


def _table(rows: Sequence[Process]) -> Table:
    table = Table(title=f"{sum(one.state in _WELL for one in rows)} workers run", title_justify="left")
    for column in ("worker", "state", "pid", "up", "log"):
        table.add_column(column, overflow="fold")
    for one in rows:
        up = str(timedelta(seconds=round(one.uptime))) if one.state in _WELL else ""
        cells = (f"{one.worker}-{one.number}", one.state.lower(), one.pid or "", up, one.log)
        table.add_row(*(plain(cell) for cell in cells))
    return table


def _last_words(one: Process) -> str:
    """The last line of its log, which says what it died of."""
    lines = one.log.read_text("utf-8", "replace").strip().splitlines() if one.log.is_file() else []
    return f"{lines[-1] if lines else one.description} ({one.log})"


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 256:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 to 256")
    return number
