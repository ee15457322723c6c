"""`windmill why`: what happened to one image."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from windmill import wiring
from windmill.catalog import Catalog
from windmill.errors import BrokerError, ConfigError
from windmill.history import History, Step, steps
from windmill.model import QueueState
from windmill.progress import plain
from windmill.settings import Settings

log = logging.getLogger(__name__)

HELP = """\
What happened to one image: for each service and each stage, what came of it, when, by which worker, and what
it waits for. IMAGE is its number, its path, its address, or its file name.

  windmill why 17
  windmill why DSC_0815.jpg
  windmill why /photos/2024/DSC_0815.jpg --json

Exit status: 0 all that was asked is settled; 1 something failed or waits, or nothing was ever asked; 2 there
is no such image, or wrong settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="number, path, address or file name")
    parser.add_argument("--json", action="store_true", help="the story as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalog = wiring.services(settings)
    with wiring.histories(settings) as histories:
        found = histories.find(args.image) or histories.find(str(Path(args.image).absolute()))
        history = histories.of(_only(args.image, found))
    story = steps(history, catalog, _queues(settings, catalog, history))
    if args.json:
        document = {"image": _image(history), "steps": [asdict(step) for step in story]}
        sys.stdout.write(json.dumps(document, default=str, indent=1, ensure_ascii=False) + "\n")
    else:
        _print(history, story)
    unsettled = any(step.waits and step.state != "never asked" for step in story)
    return 1 if unsettled or not history.asked else 0


def _only(name: str, found: Sequence[int]) -> int:
    if not found:
        raise ConfigError(f"{name}: no image has this number, path, address or file name")
    if len(found) > 1 and str(found[0]) != name:
        some = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
        raise ConfigError(f"{name}: several images are called that; say which: {some}")
    return found[0]


def _queues(settings: Settings, catalog: Catalog, history: History) -> Mapping[str, QueueState]:
    names = {*catalog.services, *(one.service for one in history.asked)}
    try:
        return wiring.queue_states(settings, sorted(names))
    except BrokerError as error:
        log.warning("%s", error)
        return {}


def _image(history: History) -> Mapping[str, object]:
    return {
        "image_id": history.image_id,
        "filename": history.filename,
        "path": history.path,
        "url": history.url,
        "group": history.group,
        "width": history.width,
        "height": history.height,
        "admitted": history.admitted,
    }


def _print(history: History, story: Sequence[Step]) -> None:
    console = Console()
    size = f"{history.width}×{history.height}" if history.width else "size unknown"
    console.print(
        plain(
            f"image {history.image_id}  {history.path or history.url}  ({size}, group {history.group},"
            f" admitted {_time(history.admitted)})"
        ),
        soft_wrap=True,
    )
    table = Table("stage", "state", "when", "worker", "what happened", "waits")
    for step in story:
        cells = (step.stage, step.state, _time(step.when), step.worker or "", step.what, step.waits)
        table.add_row(*map(plain, cells))
    console.print(table)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
