"""`windmill dead`: jobs that were given up."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

from rich.console import Console
from rich.table import Table

from windmill import wiring
from windmill.commands.produce import count_of, interruptible
from windmill.dead import Dead, DeadGroup, Matching
from windmill.errors import ConfigError
from windmill.plain import block
from windmill.ports import Graveyard
from windmill.producing import Valve
from windmill.progress import NARROW, folding, meter, plain, stacked
from windmill.settings import Settings

_WINDOW = 100
_SHOWN = 10

HELP = """\
Jobs that were given up: their error does not pass, or every attempt was used up, or they killed the workers
that took them. They are kept with the message as it was, whatever the broker.

  windmill dead ls                                       by service and class of error, with a sample
  windmill dead ls --service ocr --json
  windmill dead show 17                                  one of them, with all that is known
  windmill dead show --service ocr --limit 20
  windmill dead replay --service ocr --error ImageError  sends them again
  windmill dead drop --error MessageError                forgets them

replay and drop want to know which: a number, --service, --error, --image, or --all. What is dropped is not
sent again by itself; windmill rerun --group does.
Exit status: 0 done; 1 the broker or the database stayed away; 2 wrong settings; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=list(ACTIONS), help="what to do")
    parser.add_argument("number", nargs="?", type=int, help="a job's number, as ls and show tell it")
    parser.add_argument("--service", metavar="NAME", help="only of this service or stage")
    parser.add_argument("--error", metavar="CLASS", help="only this class of error")
    parser.add_argument("--image", type=int, metavar="ID", help="only of this image")
    parser.add_argument("--all", action="store_true", help="all of them (replay, drop)")
    parser.add_argument("--limit", type=count_of, metavar="N", help="show: so many (default: 10)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    matching = Matching(
        service=args.service, error_class=args.error, image_id=args.image, dead_id=args.number
    )
    if args.action in ("replay", "drop") and matching == Matching() and not args.all:
        raise ConfigError(f"which jobs? {args.action} NUMBER, --service, --error, --image, or --all")
    if args.limit and args.action != "show":
        raise ConfigError(f"--limit goes with show; {args.action} takes all that match")
    with wiring.graveyard(settings) as graveyard:
        if matching != Matching() and not graveyard.groups(matching):
            raise ConfigError("no such dead job: `windmill dead ls` lists what there is")
        return ACTIONS[args.action](graveyard, matching, args, settings)


def _list(graveyard: Graveyard, matching: Matching, args: argparse.Namespace, _: Settings) -> int:
    groups = graveyard.groups(matching)
    if args.json:
        sys.stdout.write(json.dumps([asdict(one) for one in groups], default=str, indent=1) + "\n")
        return 0
    if not groups:
        sys.stdout.write("no job was given up\n")
        return 0
    console = Console()
    console.print(groups_table(groups, console.width))
    return 0


def groups_table(groups: Sequence[DeadGroup], width: int) -> Table:
    """A row for each service and class of error; where it is narrow, with less side by side."""
    columns: tuple[str, ...] = ("service", "error", "jobs", "latest", "sample", "image", "what it met")
    wide = width >= NARROW
    if not wide:
        columns = ("service, error, latest", "jobs", "sample: image, what it met")
    table = folding(columns, unbroken=("jobs", "latest", "sample"))
    for one in groups:
        latest = one.last.astimezone().strftime("%Y-%m-%d %H:%M")
        jobs = f"{one.count:,}"
        if wide:
            cells = (one.service, one.error_class, jobs, latest, one.sample_id, one.sample_image,
                     one.sample_error)  # fmt: skip
            table.add_row(*map(plain, cells))
        else:
            sample = stacked(f"{one.sample_id}: {one.sample_image}", one.sample_error)
            table.add_row(stacked(one.service, one.error_class, latest), plain(jobs), sample)
    return table


def _show(graveyard: Graveyard, matching: Matching, args: argparse.Namespace, _: Settings) -> int:
    jobs = graveyard.jobs(matching, after=0, limit=args.limit or _SHOWN)
    if args.json:
        shown = [{**asdict(one), "body": one.body.decode("utf-8", "replace")} for one in jobs]
        sys.stdout.write(json.dumps(shown, default=str, indent=1) + "\n")
        return 0
    for one in jobs:
        sys.stdout.write(block(_description(one)) + "\n")
    total = sum(group.count for group in graveyard.groups(matching))
    if len(jobs) < total:
        sys.stdout.write(f"… and {total - len(jobs):,} more (--limit)\n")
    return 0


def _description(one: Dead) -> str:
    when = one.buried_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return (
        f"{one.dead_id}: {one.service}, given up at {when} after {one.attempts} attempts"
        f" by {one.worker_id or 'a worker'}\n"
        f"   image    {one.image_id or 'none'} {one.image}\n"
        f"   error    {one.error_class}: {one.error}\n"
        f"   message  {one.body[:500].decode('utf-8', 'replace')}"
    )


def _replay(graveyard: Graveyard, matching: Matching, args: argparse.Namespace, settings: Settings) -> int:
    matching = replace(matching, before=graveyard.now())  # what dies again meanwhile stays dead
    groups = graveyard.groups(matching)
    total = sum(one.count for one in groups)
    sent, after = 0, 0
    with wiring.publisher(settings) as broker, interruptible() as stop:
        publish = partial(broker.publish, doubtful=True, stop=stop)  # they may have been half done
        valve = Valve(broker, sorted({one.service for one in groups}), settings.max_queue_depth)
        with meter("sending", "jobs", total) as progress:
            while room := valve.room(_WINDOW, stop) if groups else 0:
                window, end = graveyard.replay(matching, publish, after=after, limit=room)
                if end == after:
                    break
                sent, after = sent + len(window), end
                progress.update(sent)
    _tell(args, "replayed", sent, sent if stop.is_set() else total)
    return 130 if stop.is_set() else 0


def _drop(graveyard: Graveyard, matching: Matching, args: argparse.Namespace, _: Settings) -> int:
    dropped = graveyard.drop(matching)
    _tell(args, "dropped", dropped, dropped)
    return 0


def _tell(args: argparse.Namespace, verb: str, count: int, total: int) -> None:
    if args.json:
        sys.stdout.write(json.dumps({verb: count}) + "\n")
        return
    left = f"; {total - count:,} are no jobs and stay (windmill dead drop)" if count < total else ""
    sys.stdout.write(f"{verb} {count:,} jobs{left}\n")


Action = Callable[[Graveyard, Matching, argparse.Namespace, Settings], int]
ACTIONS: dict[str, Action] = {"ls": _list, "show": _show, "replay": _replay, "drop": _drop}
