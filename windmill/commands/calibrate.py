"""`windmill calibrate`: learn how right detectors and voters are."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from windmill import calibration
from windmill.calibrating import boxes, votes
from windmill.calibration import Calibration, Learned
from windmill.commands import candidates
from windmill.commands.eval_votes import gathered
from windmill.commands.produce import count_of
from windmill.core import calibrated, merging
from windmill.errors import ConfigError
from windmill.evaluating import document
from windmill.evaluating.votes.cases import Cases, judged_labels
from windmill.plain import line
from windmill.settings import Settings

HELP = """\
Learns from images of which it is known what they show how right each detector and each voter is (extra
`[eval]`), and writes that as the file by which boxes are merged, and by which CONSENSUS_ALGORITHM=calibrated
weighs votes. DIR is as for `windmill eval votes`; several are learned from together.

  windmill calibrate --data coco-photos --out calibration.json
  windmill calibrate --data coco-photos --data coco-boxes --out calibration.json
  windmill calibrate --data coco-photos --url yolov8=http://gpu2:7773 --out calibration.json

Then set CALIBRATION to the file where workers run and start them anew; `windmill rerun --stale` with
--service bbox_merger, and with --service consensus, merges and votes anew where another calibration did. How
good the result is on other images, `windmill eval boxes` and `windmill eval votes` say.
Exit status: 0 written, 2 wrong arguments or data, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="photos, or detections; may be repeated",
    )
    candidates.add_arguments(parser)
    parser.add_argument("--limit", type=count_of, metavar="N", help="only the first N images of each")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: to the screen)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.out:
        _check(args.out)
    folders = gathered(args.data, args, settings)
    examples = [
        one
        for folder in folders
        for case in folder.cases
        for one in votes.examples(case.image, case.replies, case.truth, judged_labels())
    ]
    made = Calibration(
        learned=_learned(folders),
        boxes=boxes.learn([one for folder in folders for one in folder.boxes]),
        voters=votes.learn(examples),
    )
    _write(calibration.text(made), args.out)
    for name, reason in ((name, reason) for folder in folders for name, reason in folder.absent.items()):
        sys.stderr.write(f"not there: {line(name)}: {reason}\n")
    sys.stderr.write(f"{merging.rule(made.boxes)}: {', '.join(made.boxes.known)}\n")
    sys.stderr.write(f"{calibrated.identity(made.voters)}: {', '.join(made.voters.known)}\n")
    return 0


def _learned(folders: list[Cases]) -> Learned:
    images = sum(len(folder.cases) for folder in folders)
    names = tuple(folder.name for folder in folders)
    return Learned(sources=names, images=images)


def _check(out: Path) -> None:
    """Whether `_write` will be able to, before services are asked. Raises `ConfigError`."""
    if out.is_dir() or not out.exists():
        document.check_folder(out)
    elif not os.access(out, os.W_OK):
        raise ConfigError(f"--out {out}: cannot be written")


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as exc:
        raise ConfigError(f"--out {out}: cannot be written: {exc.strerror}") from exc
