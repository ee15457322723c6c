"""`windmill why`: what happened to one image, and why a box of it stands."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from rich.console import Console
from rich.table import Table

from windmill import accounts, explaining, wiring
from windmill.catalog import Catalog
from windmill.commands import one_image
from windmill.errors import BrokerError, ConfigError
from windmill.explaining import Account, Case
from windmill.history import History, Step, steps, waits_for
from windmill.model import QueueState
from windmill.plain import document
from windmill.progress import NARROW, folding, plain, stacked
from windmill.settings import Settings

log = logging.getLogger(__name__)

HELP = """\
What happened to one image: for each service and each stage, what came of it, when, by which worker, and what
it waits for; and why its boxes stand. IMAGE is its number, its path, its address, or its file name.

  windmill why 17                       the story, and the boxes with their numbers
  windmill why DSC_0815.jpg --box 2     who saw box 2, how near, how likely each is right, and its score
  windmill why 17 --near 320,200        all that any detector saw at a point, boxes that fell short included
  windmill why chelsea.png --box 1 --data demo
  windmill why /photos/2024/DSC_0815.jpg --json

`windmill show IMAGE` draws the boxes with the same numbers.

Exit status: 0 all that was asked is settled; 1 something failed or waits, or nothing was ever asked; 2 there
is no such image, box or point, or wrong settings. With --box and --near: 0 or 2."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    one_image.add_arguments(parser)
    parser.add_argument("--box", type=int, metavar="N", help="why this box stands, by its number")
    parser.add_argument(
        "--near",
        type=_point,
        metavar="X,Y",
        help="why there is or is no box at this point, in pixels of the upright image",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.box is not None and args.near is not None:
        raise ConfigError("--box N or --near X,Y, not both")
    with one_image.database(args, settings) as own, wiring.histories(own) as histories:
        case = histories.case(one_image.image_id(args.image, histories))
        if args.box is not None:
            _explain([one_image.inquiry(case, own).account(args.box)], case, args)
            return 0
        if args.near is not None:
            _explain(one_image.inquiry(case, own).near(*args.near), case, args)
            return 0
        return _tell(case, wiring.services(own), own, args)


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no X,Y such as 320,200") from exc
    return x, y


def _explain(found: Sequence[Account], case: Case, args: argparse.Namespace) -> None:
    if args.json:
        explained = {"image": _image(case.history), "boxes": [accounts.document(one) for one in found]}
        sys.stdout.write(document(explained) + "\n")
    else:
        _print_accounts(found, case)


def _print_accounts(found: Sequence[Account], case: Case) -> None:
    console = Console()
    console.print(plain(_headline(case.history)), soft_wrap=True)
    for one in found:
        console.print()
        for said in accounts.heading(one, len(case.snapshot.boxes)):
            console.print(plain(said), soft_wrap=True)
        console.print(accounts.table(one))
        for said in (*accounts.others(one), *accounts.sums(one)):
            console.print(plain(said), soft_wrap=True)
    if not found:
        console.print("none of the detectors that have answered saw anything there")


def _tell(case: Case, catalog: Catalog, settings: Settings, args: argparse.Namespace) -> int:
    history = case.history
    story = steps(history, catalog, _queues(settings, catalog, history))
    numbered = explaining.boxes(case.snapshot)
    if args.json:
        told = {
            "image": _image(history),
            "steps": [{**asdict(step), "when": _iso(step.when)} for step in story],
            "boxes": accounts.boxes(numbered),
        }
        sys.stdout.write(document(told) + "\n")
    else:
        _print(history, story)
        next_time = one_image.further(args, history.image_id, len(numbered), " draws them")
        for said in (accounts.listing(numbered), next_time):
            Console().print(plain(said), soft_wrap=True)
    unsettled = any(step.waits and step.state != "never asked" for step in story)
    return 1 if unsettled or not history.asked else 0


def _queues(settings: Settings, catalog: Catalog, history: History) -> Mapping[str, QueueState]:
    try:
        return wiring.queue_states(settings, waits_for(history, catalog))
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
        "admitted": _iso(history.admitted),
    }


def _headline(history: History) -> str:
    size = f"{history.width}×{history.height}" if history.width else "size unknown"
    about = f"{size}, group {history.group}, admitted {_time(history.admitted)}"
    return f"image {history.image_id}  {history.path or history.url}  ({about})"


def _print(history: History, story: Sequence[Step]) -> None:
    console = Console()
    console.print(plain(_headline(history)), soft_wrap=True)
    console.print(story_table(story, console.width))


def story_table(story: Sequence[Step], width: int) -> Table:
    """A row for each step; where it is narrow, when and by whom stand below what happened."""
    columns: tuple[str, ...] = ("stage", "state", "what happened")
    wide = width >= NARROW
    if wide:
        columns = ("stage", "state", "when", "worker", "what happened", "waits")
    table = folding(columns, unbroken=("state", "when"))
    for step in story:
        when, worker = _time(step.when), step.worker or ""
        if wide:
            cells = (step.stage, step.state, when, worker, step.what, step.waits)
            table.add_row(*map(plain, cells))
        else:
            waits = f"waits: {step.waits}" if step.waits else ""
            told = stacked(step.what, waits, f"{when} {worker}".strip())
            table.add_row(plain(step.stage), plain(step.state), told)
    return table


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(" ") if moment else None
