"""`windmill eval boxes`: how good merged boxes are."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from windmill.commands.produce import count_of
from windmill.errors import ConfigError
from windmill.extras import needs
from windmill.progress import meter
from windmill.settings import Settings

with needs("services,eval"):
    from windmill.commands import sheets
    from windmill.evaluating import document
    from windmill.evaluating.boxes import report, rivals, rule, tables
    from windmill.evaluating.boxes.crew import crew
    from windmill.evaluating.boxes.folder import Folder, Source
    from windmill.evaluating.boxes.report import Plan, Report, Sets

HELP = """\
Compares Windmill's merged boxes with each detector alone and with the well-known ways of merging, on images
of which it is known what they show (extra `[eval]`): a folder with ground_truth.json in COCO's instances
format and, for each detector, NAME.json in COCO's results format; each may be gzipped (.json.gz).

  windmill eval boxes --data coco-boxes
  windmill eval boxes --data coco-boxes --set mine=yolo-v3,ssd-resnet50-fpn --against wbf
  windmill eval boxes --data coco-boxes --ablate --document docs/quality.md
  windmill eval boxes --data coco-boxes --limit 200 --json

Without --set: the sets A to D of docs/quality.md of which all detectors are there, and all detectors
together; where none of A to D is there, and four to six detectors are, also every three of them.
What Windmill learns it learns from other images than it is judged on (--folds). The other methods get the
thresholds and weights that are best on the very images on which they are judged: a favour to them.
Interrupted, it shows the sets that are complete. docs/quality.md says how to read the tables.
Exit status: 0 compared, 2 wrong arguments or data, 130 interrupted."""

_NOBODY = "none"
_SECTION = "boxes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the truth and detections")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=A,B",
        help="compare on these detectors; may be repeated",
    )
    parser.add_argument(
        "--against",
        default="nms,nmw,wbf",
        metavar="A,B",
        help=f"the other methods: some of {', '.join(rivals.METHODS)}, or {_NOBODY} (default: nms,nmw,wbf)",
    )
    parser.add_argument(
        "--ablate", action="store_true", help="also Windmill's rule without one idea after another"
    )
    parser.add_argument("--folds", type=count_of, default=5, metavar="N", help="parts to cross-validate (5)")
    parser.add_argument(
        "--resamples", type=count_of, default=100, metavar="N", help="draws of images for ± (default: 100)"
    )
    parser.add_argument("--limit", type=count_of, metavar="N", help="only the first N images by number")
    parser.add_argument(
        "--processes", type=count_of, default=os.cpu_count() or 1, metavar="N", help="(default: all cores)"
    )
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="also write the tables into this Markdown file"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- every command's form
    if args.document:
        document.check(args.document, _SECTION)
    plan = _plan(args)
    done: list[Report] = []
    try:
        with meter("comparing", "steps", plan.tasks) as told, crew(args.processes, told.update) as workers:
            for one in report.reports(plan, workers):
                done.append(one)
    finally:  # who interrupts wants to see what there is by then
        (_tell_json if args.json else _tell)(done, plan.source.folder)
    if args.document:
        packages = ["pycocotools", *(["ensemble-boxes"] if plan.rivals else []), "numpy"]
        text = document.section(_command(args), packages, tables.sheets(done))
        document.write(args.document, _SECTION, text)
    return 0


def _plan(args: argparse.Namespace) -> Plan:
    """Raises `ConfigError`."""
    if args.folds < 2 or args.resamples < 2:
        raise ConfigError("--folds and --resamples: expected 2 or more")
    source = Source(args.data, args.limit)
    names = list(source.folder.detectors)
    return Plan(
        source=source,
        sets=_sets(args.set, names) if args.set else report.default_sets(names),
        rivals=_rivals(args.against),
        rules={**rule.RULES, **(rule.ABLATED if args.ablate else {})},
        folds=args.folds,
        resamples=args.resamples,
    )


def _sets(words: Sequence[str], names: Sequence[str]) -> Sets:
    """Raises `ConfigError`."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, separator, members = word.partition("=")
        chosen = tuple(one.strip() for one in members.split(",") if one.strip())
        if not (separator and name and chosen) or name in found or len(set(chosen)) < len(chosen):
            raise ConfigError(f"--set {word}: expected NAME=A,B with each name once")
        if unknown := set(chosen) - set(names):
            raise ConfigError(f"--set {word}: no {', '.join(sorted(unknown))} among {', '.join(names)}")
        found[name] = chosen
    return found


def _rivals(words: str) -> tuple[rivals.Rival, ...]:
    """Raises `ConfigError`."""
    names = [one.strip() for one in words.split(",") if one.strip() not in ("", _NOBODY)]
    if unknown := [one for one in names if one not in rivals.METHODS]:
        raise ConfigError(f"--against {words}: no {unknown[0]} among {', '.join(rivals.METHODS)}")
    if names:
        rivals.version()
    return tuple(rival for name in dict.fromkeys(names) for rival in rivals.METHODS[name])


def _command(args: argparse.Namespace) -> str:
    """What to type for the same tables, wherever the data are."""
    words = ["windmill", "eval", "boxes", "--data", args.data.resolve().name]
    for one in args.set:
        words += ["--set", one]
    words += ["--against", args.against, "--folds", str(args.folds), "--resamples", str(args.resamples)]
    words += ["--ablate"] if args.ablate else []
    return shlex.join(words + (["--limit", str(args.limit)] if args.limit else []))


def _tell(reports: Sequence[Report], folder: Folder) -> None:
    if not reports:
        return
    console = sheets.wide()
    console.print(f"{len(folder.pictures):,} images, {len(folder.truth):,} objects")
    sheets.show(tables.sheets(reports), console)


def _tell_json(reports: Sequence[Report], folder: Folder) -> None:
    told = {"images": len(folder.pictures), "objects": len(folder.truth), "sets": tables.document(reports)}
    sys.stdout.write(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
