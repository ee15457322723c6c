"""`windmill ingest`: the table of images."""

from __future__ import annotations

import argparse
import io
import json
import sys
import threading
from typing import TextIO

from windmill import wiring
from windmill.errors import StoreError
from windmill.images import ImageFiles
from windmill.ingesting import Admitted, Candidate, candidates, count, ingest
from windmill.model import Image
from windmill.plain import line
from windmill.progress import Meter, meter
from windmill.settings import Settings

_SHOWN = 5  # duplicates that are named one by one

HELP = """\
Fills the table of images. Each file is read once: its content is hashed, so that the same picture is stored
once whatever its name, and its size is taken as people see it (EXIF orientation applied). JPEG, PNG, WebP,
GIF, BMP, TIFF and HEIC. The files stay where they are; workers read them by their absolute path.

  windmill ingest ~/Photos --group holidays        a folder and all below it
  windmill ingest list.csv --group archive         columns path or url; also group, filename
  find /nas -name '*.heic' | windmill ingest - --group nas

Whether a file is an image is said by its content, not by its name; texts, tables and films that lie among the
photos of a folder are counted and left out. Each bad file gets one line that says why, and stops nothing. The
same command again does only what is new. Paths in a list may be relative to the folder one is in.

Exit status: 0 all there, 1 some files were bad or there was no image at all, 2 nothing could be done, 130
interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="FOLDER|FILE.csv|-", help="where the images are named")
    parser.add_argument(
        "--group", default="default", metavar="NAME", help="their group (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="look and report, store nothing")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    done = Admitted() if args.json else Admitted(tell=_bad, most_named=_SHOWN)
    files = wiring.images(settings)
    found = candidates(args.source, args.group, _lines())
    try:
        with wiring.image_registry(settings) as registry, meter("ingesting", "files", None) as progress:
            ingest(
                found,
                registry,
                read=lambda one: read(files, one),
                measure=files.inspect,
                meter=Counted(args.source, progress),
                dry_run=args.dry_run,
                done=done,
            )
    except (KeyboardInterrupt, StoreError):
        if done.seen:
            sys.stderr.write(f"cut short; so far {_counts(done)}. The same command goes on from here\n")
        raise
    sys.stdout.write(f"{json.dumps(_document(done)) if args.json else _summary(done, args)}\n")
    return 1 if done.bad_count or not (done.added or done.duplicate_count) else 0


def read(files: ImageFiles, one: Candidate) -> bytes:
    """The bytes of a candidate, which has no id yet."""
    return files.read(Image(image_id=0, path=one.path, url=one.url))


class Counted:
    """A meter that learns the total meanwhile: to walk a big folder on a network takes its time."""

    def __init__(self, source: str, meter: Meter) -> None:
        self._meter = meter
        self._total: int | None = None
        threading.Thread(target=self._count, args=(source,), daemon=True).start()

    def _count(self, source: str) -> None:
        self._total = count(source)

    def update(self, done: int, total: int | None = None) -> None:
        self._meter.update(done, self._total if total is None else total)


def _lines() -> TextIO:
    """Standard input, with what is not UTF-8 in it: each such name gets a line of its own."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")
    return sys.stdin


def _bad(told: str) -> None:
    sys.stderr.write(f"bad: {line(told)}\n")


def _summary(done: Admitted, args: argparse.Namespace) -> str:
    """What was done; names a few duplicates on standard error."""
    for name, image_id in done.duplicates:
        sys.stderr.write(f"duplicate: {line(name)}" + (f" is image {image_id}\n" if image_id else "\n"))
    more = done.duplicate_count - len(done.duplicates)
    if more:
        sys.stderr.write(f"… and {more:,} more duplicates (--json names them all)\n")
    if not done.seen:
        return f"{line(args.source)}: there is nothing in it"
    return f"{'would add' if args.dry_run else 'added'} {_counts(done)}"


def _counts(done: Admitted) -> str:
    rest = f"{done.duplicate_count:,} duplicates, {done.bad_count:,} bad, {done.ignored:,} other files"
    return f"{done.added:,} images; {rest}"


def _document(done: Admitted) -> dict[str, object]:
    duplicates = [{"name": name, "image_id": image_id} for name, image_id in done.duplicates]
    return {"added": done.added, "duplicates": duplicates, "bad": done.bad, "ignored": done.ignored}
