"""`windmill calibrate`: learn how right detectors and voters are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
Detectors need boxes, and objects of the same classes to hold them against; voters 20 labels that are true and
20 that are false, of classes that COCO has, and five of one voter. Where only one of the two can be learned,
the other is kept from the calibration in use (CALIBRATION, else what ships), and that is told.

  windmill calibrate --data coco-photos --out calibration.json
  windmill calibrate --data coco-photos --data coco-boxes --out calibration.json
  windmill calibrate --data coco-photos --url yolov8=http://gpu2:7773 --out calibration.json

Then set CALIBRATION to the file where workers run and start them anew; `windmill rerun --stale` with
--service bbox_merger, and with --service consensus, merges and votes anew where another calibration did. How
good the result is on other images, `windmill eval boxes` and `windmill eval votes` say.
Exit status: 0 written, 2 wrong arguments, or data from which neither can be learned, 130 interrupted."""

Part = TypeVar("Part")


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
    for name, reason in ((name, reason) for folder in folders for name, reason in folder.absent.items()):
        sys.stderr.write(f"not there: {line(name)}: {reason}\n")
    made = _made(folders, settings)
    _write(calibration.text(made), args.out)
    sys.stderr.write(f"{merging.rule(made.boxes)}: {', '.join(made.boxes.known)}\n")
    sys.stderr.write(f"{calibrated.identity(made.voters)}: {', '.join(made.voters.known)}\n")
    return 0


def _made(folders: list[Cases], settings: Settings) -> Calibration:
    """What can be learned, with what is in use in place of the rest. Raises `ConfigError` if nothing can."""
    examples = [
        one
        for folder in folders
        for case in folder.cases
        for one in votes.examples(case.image, case.replies, case.truth, judged_labels())
    ]
    detectors = _tried(lambda: boxes.learn([one for folder in folders for one in folder.boxes]))
    voters = _tried(lambda: votes.learn(examples))
    if isinstance(detectors, ConfigError) and isinstance(voters, ConfigError):
        raise ConfigError(f"boxes: {detectors}; voters: {voters}")
    return Calibration(
        learned=_learned(folders),
        boxes=_kept("boxes", detectors, settings).boxes if isinstance(detectors, ConfigError) else detectors,
        voters=_kept("voters", voters, settings).voters if isinstance(voters, ConfigError) else voters,
    )


def _tried(learn: Callable[[], Part]) -> Part | ConfigError:
    """One part of a calibration, or why it cannot be learned: the other part does not hang on it."""
    try:
        return learn()
    except ConfigError as exc:
        return exc


def _kept(part: str, reason: ConfigError, settings: Settings) -> Calibration:
    """The calibration in use, of which `part` is kept, as is told. Raises `ConfigError`."""
    used = calibration.load(settings.calibration_file)
    place = settings.calibration_file or f"the {calibration.SHIPPED} that ships"
    sys.stderr.write(f"{part}: kept from {line(place)}: {line(reason)}\n")
    return used


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
