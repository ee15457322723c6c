"""`windmill monitor`: who works, who is silent, what is queued."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from windmill import catalog, wiring
from windmill.errors import ConfigError, StoreError
from windmill.model import Sighting
from windmill.monitoring import FleetReport, Windows, survey
from windmill.plain import line
from windmill.progress import plain
from windmill.settings import Settings

HELP = """\
Shows what the workers' heartbeats say: dead workers, recent errors, jobs per minute and workers of each
service, the spread over nodes, and how many jobs wait in each queue.

  monitor_workers.py                          once
  monitor_workers.py --watch                  every 5 seconds, until Ctrl-C
  monitor_workers.py --dead-threshold 2       silent for 2 minutes is dead
  monitor_workers.py --json | jq .dead        for scripts
  monitor_workers.py --json --watch 60        a line of JSON every minute

Heartbeats are written when ENABLE_MONITORING=true (see .env.example). More in docs/monitoring.md.
Exit status: 0 all well, 1 dead workers or recent errors, 2 cannot tell."""

_LONGEST = 300  # characters of an error on the screen; all of it with --json
_REFUSED = (
    "monitoring is off: set ENABLE_MONITORING=true, MONITORING_DB_HOST, MONITORING_DB_NAME, "
    "MONITORING_DB_USER and MONITORING_DB_PASSWORD (.env.example)"
)
_NOBODY = "No heartbeats yet. Are workers running (./workers.sh status) with ENABLE_MONITORING=true?"

Look = Callable[[], FleetReport]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, default, meaning in (
        ("--dead-threshold", 5.0, "minutes of silence after which a worker is dead"),
        ("--performance-window", 5.0, "minutes over which jobs per minute are counted"),
        ("--errors-window", 60.0, "minutes after which an error is no longer recent"),
    ):
        says = f"{meaning} (default: {default:g})"
        parser.add_argument(name, type=_positive, default=default, metavar="MIN", help=says)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_positive,
        const=5.0,
        metavar="SECONDS",
        help="look again every SECONDS (5 if not said), until Ctrl-C",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON instead of tables")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, more than 0")
    return value


def run(args: argparse.Namespace, settings: Settings) -> int:
    if not settings.enable_monitoring:
        raise ConfigError(_REFUSED)
    windows = Windows(
        dead=60 * args.dead_threshold,
        performance=60 * args.performance_window,
        errors=60 * args.errors_window,
    )
    console = Console()
    with _quiet(), closing(wiring.heartbeat_log(settings)) as log:
        look = partial(survey, log, partial(_depths, settings), windows)
        try:
            if args.watch and console.is_terminal and not args.json:
                return _watch(console, look, args.watch)
            return _repeat(_print_json if args.json else partial(_print, console), look, args.watch)
        except StoreError as error:
            sys.stderr.write(f"windmill monitor: {line(error)}\n")
            return 2


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines across the screen: the report itself says what fails."""
    logger = logging.getLogger("windmill")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _depths(settings: Settings, seen: Collection[str]) -> Mapping[str, int]:
    """Jobs in the queues of the services that were seen, of those in the catalog, and of the stages."""
    names = dict.fromkeys((*wiring.services(settings).services, *catalog.STAGES, *seen))
    return {name: state.waiting for name, state in wiring.queue_states(settings, names).items()}


def _repeat(show: Callable[[FleetReport], None], look: Look, seconds: float | None) -> int:
    """Shows one report after the other, or only one where `seconds` is None."""
    report = look()
    show(report)
    with suppress(KeyboardInterrupt):
        while seconds is not None:
            time.sleep(seconds)
            report = look()
            show(report)
    return _status(report)


def _watch(console: Console, look: Look, seconds: float) -> int:
    """Keeps one screen up to date, and leaves the last one behind."""
    report = look()
    with (
        Live(_screen(report), console=console, auto_refresh=False, screen=True) as live,
        suppress(KeyboardInterrupt),
    ):
        while True:
            time.sleep(seconds)
            report, screen = _looked_again(look, report)
            live.update(screen, refresh=True)
    _print(console, report)
    return _status(report)


def _looked_again(look: Look, before: FleetReport) -> tuple[FleetReport, Group]:
    """The new report and its screen; the one before, and why, while the heartbeats cannot be read."""
    try:
        report = look()
    except StoreError as error:
        return before, Group(plain(f"not up to date: {error}"), _screen(before))
    return report, _screen(report)


def _status(report: FleetReport) -> int:
    return 0 if report.well else 1


# --- for scripts -----------------------------------------------------------------------------------------


def _print_json(report: FleetReport) -> None:
    document = {"well": report.well, **asdict(report)}
    sys.stdout.write(json.dumps(document, default=_moment) + "\n")
    sys.stdout.flush()


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"not for JSON: {value!r}")
    return value.isoformat()


# --- for people ------------------------------------------------------------------------------------------


def _print(console: Console, report: FleetReport) -> None:
    console.print(_screen(report))


def _screen(report: FleetReport) -> Group:
    """Bad news first: a screen may be too small for all of it."""
    if not (report.workers or report.dead or report.stopped):
        return Group(Text(_NOBODY))
    parts: list[RenderableType] = [_summary(report)]
    if report.dead:
        parts.append(_workers("Dead workers", report.dead))
    if report.errors:
        parts.append(_errors(report))
    parts.append(_services(report))
    if report.depths_unknown:
        parts.append(plain(f"queue depths are unknown: {report.depths_unknown}"))
    if report.nodes:
        spread = ", ".join(f"{node}: {count}" for node, count in report.nodes.items())
        parts.append(plain(f"workers on each node: {spread}"))
    if report.workers:
        parts.append(_workers("Workers", report.workers))
    return Group(*parts)


def _summary(report: FleetReport) -> Text:
    count = f"{len(report.workers)} alive, {len(report.dead)} dead, {len(report.stopped)} stopped"
    return Text(count, style="green" if report.well else "bold red")


def _services(report: FleetReport) -> Table:
    table = _table("Services", "service", "workers", "jobs/min", "queued")
    for one in report.services:
        depth = "?" if one.queue_depth is None else one.queue_depth
        _row(table, one.service, one.workers, f"{one.jobs_per_minute:g}", depth)
    return table


def _workers(title: str, workers: tuple[Sighting, ...]) -> Table:
    table = _table(title, "worker", "node", "status", "jobs", "jobs/min", "seen")
    for one in workers:
        beat = one.heartbeat
        _row(
            table,
            beat.worker_id,
            beat.node_hostname,
            beat.status,
            beat.jobs_completed,
            f"{beat.jobs_per_minute:g}",
            _ago(one.silent_seconds),
        )
    return table


def _errors(report: FleetReport) -> Table:
    table = _table("Recent errors", "worker", "error", "heartbeats", "last")
    for one in report.errors:
        _row(table, one.worker_id, one.message, one.count, _ago(one.seconds_ago))
    return table


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    table.add_row(*(plain(cell, _LONGEST) for cell in cells))
