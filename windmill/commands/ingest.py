"""`windmill ingest`: the table of images."""

from __future__ import annotations

import argparse
import json
import sys

from windmill import wiring
from windmill.images import ImageFiles
from windmill.ingesting import Admitted, Candidate, candidates, ingest
from windmill.model import Image
from windmill.progress import meter
from windmill.settings import Settings

_SHOWN = 5  # duplicates that are named one by one

HELP = """\
Fills the table of images. Each file is read once: its content is hashed, so that the same picture is stored
once whatever its name, and its size is taken as people see it (EXIF orientation applied). JPEG, PNG, WebP,
GIF, BMP, TIFF and HEIC. The files stay where they are; workers read them by their absolute path.

  windmill ingest ~/Photos --group holidays        a folder and all below it
  windmill ingest list.csv --group archive         columns path or url; also group, filename
  find /nas -name '*.heic' | windmill ingest - --group nas

Exit status: 0 done, 1 done but some files were bad, 2 nothing could be done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FOLDER|FILE.csv|-", help="where the images are named")
    parser.add_argument(
        "--group", default="default", metavar="NAME", help="their group (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="look and report, store nothing")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    files = wiring.images(settings)
    found = candidates(args.source, args.group, sys.stdin)
    with wiring.image_registry(settings) as registry, meter("ingesting", "images", None) as progress:
        done = ingest(
            found,
            registry,
            read=lambda one: read(files, one),
            measure=files.inspect,
            meter=progress,
            dry_run=args.dry_run,
        )
    if args.json:
        sys.stdout.write(json.dumps(_document(done)) + "\n")
    else:
        _tell(done, dry_run=args.dry_run)
    return 1 if done.bad else 0


def read(files: ImageFiles, one: Candidate) -> bytes:
    """The bytes of a candidate, which has no id yet."""
    return files.read(Image(image_id=0, path=one.path, url=one.url))


def _tell(done: Admitted, *, dry_run: bool) -> None:
    for line in done.bad:
        sys.stderr.write(f"bad: {line}\n")
    for name, image_id in done.duplicates[:_SHOWN]:
        sys.stderr.write(f"duplicate: {name}" + (f" is image {image_id}\n" if image_id else "\n"))
    if len(done.duplicates) > _SHOWN:
        sys.stderr.write(f"… and {len(done.duplicates) - _SHOWN:,} more duplicates (--json names them all)\n")
    counts = f"{len(done.duplicates):,} duplicates, {len(done.bad):,} bad, {done.ignored:,} other files"
    sys.stdout.write(f"{'would add' if dry_run else 'added'} {done.added:,} images; {counts}\n")


def _document(done: Admitted) -> dict[str, object]:
    duplicates = [{"name": name, "image_id": image_id} for name, image_id in done.duplicates]
    return {"added": done.added, "duplicates": duplicates, "bad": done.bad, "ignored": done.ignored}
