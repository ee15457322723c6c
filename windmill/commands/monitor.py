"""`windmill monitor`: who works, who is silent, what is queued."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from windmill import catalog, wiring
from windmill.errors import BrokerError, ConfigError
from windmill.model import Sighting
from windmill.monitoring import FleetReport, Windows, survey
from windmill.settings import Settings

HELP = """\
Shows what the workers' heartbeats say: dead workers, jobs per minute and workers of each service, the spread
over nodes, recent errors, and how many jobs wait in each queue.

  monitor_workers.py                          once
  monitor_workers.py --watch                  every 5 seconds, until Ctrl-C
  monitor_workers.py --json | jq .dead        for scripts
  monitor_workers.py --dead-threshold 2       silent for 2 minutes is dead

Heartbeats are written when ENABLE_MONITORING=true (see .env.example).
Exit status: 0 all well, 1 dead workers or recent errors, 2 cannot tell."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    minutes: dict[str, Any] = {"type": float, "metavar": "MIN"}
    parser.add_argument("--dead-threshold", default=5, help="minutes of silence (default: 5)", **minutes)
    parser.add_argument("--performance-window", default=5, help="minutes for rates (default: 5)", **minutes)
    parser.add_argument("--errors-window", default=60, help="minutes for errors (default: 60)", **minutes)
    parser.add_argument(
        "--watch", nargs="?", type=float, const=5.0, metavar="SEC", help="look again every SEC seconds"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if not settings.enable_monitoring:
        raise ConfigError("monitoring is off: set ENABLE_MONITORING=true and MONITORING_DB_* (.env.example)")
    windows = Windows(
        dead=60 * args.dead_threshold,
        performance=60 * args.performance_window,
        errors=60 * args.errors_window,
    )
    with closing(wiring.heartbeat_log(settings)) as log:
        if args.watch:
            return _watch(lambda: survey(log, _depths(settings), windows), args.watch)
        report = survey(log, _depths(settings), windows)
    if args.json:
        sys.stdout.write(json.dumps(asdict(report), ensure_ascii=False, default=str, indent=1) + "\n")
    else:
        Console().print(_screen(report))
    return 0 if report.well else 1


def _depths(settings: Settings) -> Mapping[str, int] | None:
    """Jobs in each queue; None, with a line that says why, when the broker cannot be asked."""
    names = (*wiring.services(settings).services, *catalog.STAGES)
    try:
        return wiring.queue_depths(settings, dict.fromkeys(names))
    except BrokerError as error:
        sys.stderr.write(f"queue depths are unknown: {error}\n")
        return None


def _watch(look: Callable[[], FleetReport], seconds: float) -> int:
    pause, report = threading.Event(), look()
    with Live(_screen(report), screen=False, auto_refresh=False) as live:
        try:
            while not pause.wait(seconds):
                report = look()
                live.update(_screen(report), refresh=True)
        except KeyboardInterrupt:
            live.stop()
    return 0 if report.well else 1


def _screen(report: FleetReport) -> Group:
    if not report.workers and not report.dead:
        return Group(
            Text("No heartbeats yet. Are workers running (./workers.sh status) with ENABLE_MONITORING=true?")
        )
    parts = [_services(report), _workers("Workers", report.workers)]
    if report.dead:
        parts.append(_workers("Dead workers", report.dead))
    if report.errors:
        parts.append(_errors(report))
    nodes = ", ".join(f"{node}: {count}" for node, count in report.nodes.items())
    return Group(*parts, Text(f"workers on each node: {nodes or 'none'}"))


def _services(report: FleetReport) -> Table:
    table = _table("Services", "service", "workers", "jobs/min", "queued")
    for one in report.services:
        depth = "?" if one.queue_depth is None else str(one.queue_depth)
        _row(table, one.service, one.workers, f"{one.jobs_per_minute:g}", depth)
    return table


def _workers(title: str, workers: tuple[Sighting, ...]) -> Table:
    table = _table(title, "worker", "node", "status", "jobs", "jobs/min", "seen")
    for one in workers:
        beat = one.heartbeat
        seen = f"{one.silent_seconds:.0f} s ago"
        _row(
            table,
            beat.worker_id,
            beat.node_hostname,
            beat.status,
            beat.jobs_completed,
            f"{beat.jobs_per_minute:g}",
            seen,
        )
    return table


def _errors(report: FleetReport) -> Table:
    table = _table("Recent errors", "worker", "error", "times", "last")
    for one in report.errors:
        _row(table, one.worker_id, one.message, one.count, f"{one.seconds_ago:.0f} s ago")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: object) -> None:
    """Cells are data, never markup."""
    table.add_row(*(Text(str(cell)) for cell in cells))
