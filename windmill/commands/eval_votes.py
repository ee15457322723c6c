"""`windmill eval votes`: how good consensus labels are."""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from windmill.commands import candidates, sheets
from windmill.commands.produce import count_of
from windmill.errors import ConfigError
from windmill.evaluating import document
from windmill.evaluating.votes import cases, report, tables
from windmill.evaluating.votes.cases import Cases
from windmill.evaluating.votes.report import Report
from windmill.progress import meter, plain
from windmill.settings import Settings

HELP = """\
Compares the rules that turn votes into a consensus (V3, and the calibrated one) with each other and with
each voter alone, on images of which it is known what they show (extra `[eval]`): photos as `eval services`
takes them, which the reference services look at; or a folder of detections as `eval boxes` takes it, where a
detector votes for the labels of its boxes.

  windmill eval votes --data coco-photos
  windmill eval votes --data coco-photos --services nanodet,ssdlite,xception
  windmill eval votes --data coco-boxes --document docs/quality.md
  windmill eval votes --data coco-boxes --limit 500 --json

What is learned about voters is learned from other images than it is judged on (--folds). docs/voting.md says
how; docs/quality.md how to read the tables.
Exit status: 0 measured, 2 wrong arguments or data, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="photos, or detections")
    candidates.add_arguments(parser)
    parser.add_argument("--folds", type=count_of, default=5, metavar="N", help="parts to cross-validate (5)")
    parser.add_argument(
        "--resamples", type=count_of, default=200, metavar="N", help="draws of images for ± (default: 200)"
    )
    parser.add_argument("--limit", type=count_of, metavar="N", help="only the first N images")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="also write the tables into this Markdown file"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.folds < 2 or args.resamples < 2:
        raise ConfigError("--folds and --resamples: expected 2 or more")
    section = f"votes {args.data.resolve().name}"
    if args.document:
        document.check(args.document, section)
    (given,) = gathered([args.data], args, settings)
    given.check()
    with meter("comparing", "steps", report.steps(args.folds)) as told:
        found = report.made(given, args.folds, args.resamples, _counting(told.update))
    (_tell_json if args.json else _tell)(found)
    if args.document:
        text = document.section(_command(args), ["numpy"], tables.sheets(found))
        document.write(args.document, section, text)
    return 0


def gathered(folders: Sequence[Path], args: argparse.Namespace, settings: Settings) -> list[Cases]:
    """What was said of the images of folders of either kind. Raises `ConfigError`."""
    if (args.services or args.url) and not any(map(cases.is_photos, folders)):
        raise ConfigError("--services and --url look at photos, and no photos.json is there")
    return [
        cases.of_photos(data, candidates.chosen(args, settings), args.limit)
        if cases.is_photos(data)
        else cases.of_boxes(data, args.limit)
        for data in folders
    ]


def _counting(update: Callable[[int], None]) -> Callable[[], None]:
    """Tells how many steps were made, step by step."""
    steps = itertools.count(1)
    return lambda: update(next(steps))


def _command(args: argparse.Namespace) -> str:
    """What to type for the same tables, wherever the data are."""
    words = ["windmill", "eval", "votes", "--data", args.data.resolve().name]
    words += ["--services", args.services] if args.services else []
    words += [word for one in args.url for word in ("--url", one)]
    words += ["--folds", str(args.folds), "--resamples", str(args.resamples)]
    return shlex.join(words + (["--limit", str(args.limit)] if args.limit else []))


def _tell(found: Report) -> None:
    sheets.show(tables.sheets(found), sheets.wide())
    for name, reason in found.absent.items():
        sys.stderr.write(f"not there: {plain(name)}: {plain(reason)}\n")


def _tell_json(found: Report) -> None:
    sys.stdout.write(json.dumps(tables.document(found), indent=1, ensure_ascii=False) + "\n")
