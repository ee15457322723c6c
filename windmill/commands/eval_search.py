"""`windmill eval search`: how good search is."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from windmill.commands import sheets
from windmill.commands.produce import count_of
from windmill.errors import WindmillError
from windmill.evaluating import document, truth
from windmill.evaluating.document import Sheet
from windmill.extras import needs
from windmill.plain import line
from windmill.settings import Settings

with needs("services"):
    from windmill.engines.in_process import InProcess
    from windmill.evaluating.search import AT, Found, measure
    from windmill.services import registry

log = logging.getLogger(__name__)

HELP = """\
Measures search by words on photos of which it is known what they show: a folder with the photos and
photos.json, as `eval services` takes it, with captions. Every caption is asked for, and its photo should be
among the first; and so are words for what no photo shows, to which nothing should fit.

  windmill eval search --data coco-photos
  windmill eval search --data coco-photos --service clip --document docs/search.md

Each embedder runs in this process; one that reads no words is named. Weights that are not here are fetched
only for a --service. docs/search.md says how to read the figures.
Exit status: 0 measured, 1 none could be measured, 2 wrong arguments or data, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="photos and photos.json")
    parser.add_argument(
        "--service",
        action="append",
        metavar="NAME",
        help="this embedder (default: all whose weights are here); may be repeated",
    )
    parser.add_argument("--limit", type=count_of, metavar="N", help="only the first N photos")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="also write the tables into this Markdown file"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- of every command
    section = f"search {args.data.resolve().name}"
    if args.document:
        document.check(args.document, section)
    photos = truth.photos(args.data, args.limit)
    here = [name for name in registry.embedders() if name in registry.ready()]
    names = [registry.known(name) for name in args.service or here]
    found = [one for name in dict.fromkeys(names) for one in _measured(name, photos)]
    if args.json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    elif found:
        sheets.show(_sheets(found), sheets.wide())
    if args.document and found:
        text = document.section(_command(args), ["numpy"], _sheets(found))
        document.write(args.document, section, text)
    return 0 if found else 1


def _measured(name: str, photos: Sequence[truth.Known]) -> list[Found]:
    """Its figures; none, and the reason in the log, where it cannot be measured."""
    try:
        return [measure(InProcess(name), photos)]
    except WindmillError as exc:
        log.warning("%s: not measured: %s", name, line(exc, 300))
        return []


def _sheets(found: Sequence[Found]) -> list[Sheet]:
    return [_recall(found), _fitting(found)]


def _recall(found: Sequence[Found]) -> Sheet:
    first = found[0]
    chance = ("chance", *(_shown(min(1.0, most / first.photos)) for most in AT))
    return Sheet(
        f"Photos by their captions: {first.captions} captions, {first.photos} photos",
        ("embedder", *(f"recall@{most}" for most in AT)),
        (*((one.service, *(_shown(one.recall[most]) for most in AT)) for one in found), chance),
    )


def _fitting(found: Sequence[Found]) -> Sheet:
    kinds = list(dict.fromkeys(kind for one in found for kind in (*one.kept, *one.hidden)))
    rows = [
        (
            one.service,
            kind,
            *(_shown(shares[kind]) if kind in shares else "" for shares in (one.kept, one.hidden)),
        )
        for one in found
        for kind in kinds
    ]
    notes = [
        f"{one.service}: learned on the half of the photos and words that it is not judged on, the rule for"
        f" words tells {_shown(one.learned)} of them right (0.5 is guessing)"
        for one in found
    ]
    return Sheet(
        "The cut-off: queries that fit and are kept, and those that fit nothing and are told so",
        ("embedder", "queries", "fit, kept", "fit nothing, told so"),
        tuple(rows),
        tuple(notes),
    )


def _shown(share: float) -> str:
    return f"{share:.3f}"


def _command(args: argparse.Namespace) -> str:
    words = [f"--data {shlex.quote(args.data.resolve().name)}"]
    words += [f"--service {shlex.quote(name)}" for name in args.service or ()]
    words += [f"--limit {args.limit}"] if args.limit else []
    return f"windmill eval search {' '.join(words)}"
