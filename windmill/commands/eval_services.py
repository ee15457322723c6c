"""`windmill eval services`: how well each service does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from windmill.commands import candidates
from windmill.commands.produce import count_of
from windmill.evaluating import table, truth
from windmill.evaluating.table import Row
from windmill.progress import plain
from windmill.settings import Settings

HELP = """\
Measures services on photos of which it is known what they show (extra `[eval]`): a folder with the photos
and photos.json, a list of {"file_name", "captions", "objects": [{"label", "bbox": [x, y, width, height]}]}
with the names of COCO's classes. docs/services.md says what each figure means, and what it does not say.

  windmill eval services --data coco-photos
  windmill eval services --data coco-photos --services nanodet,ssdlite --limit 20
  windmill eval services --data coco-photos --faces faces --services face_embedding
  windmill eval services --data coco-photos --url yolov8=http://gpu2:7773 --json

Reference services run in this process; with --url, what answers there as the service of that name. What is
not there is listed with the reason.
Exit status: 0 measured, 1 none could be measured, 2 wrong arguments or data, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="photos and photos.json")
    parser.add_argument("--faces", type=Path, metavar="DIR", help="a folder of photos for each person")
    candidates.add_arguments(parser)
    parser.add_argument("--limit", type=count_of, metavar="N", help="only the first N photos")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    services = candidates.chosen(args, settings)
    photos = truth.photos(args.data, args.limit)
    people = truth.people(args.faces) if args.faces else {}
    done: list[Row] = []
    try:
        for row in table.rows(services, photos, people):
            done.append(row)
    finally:  # who interrupts wants to see what there is by then
        (_tell_json if args.json else _tell)(done, len(photos))
    return 0 if any(row.figures for row in done) else 1


def _tell(rows: Sequence[Row], photos: int) -> None:
    shown = Table("service", "figures", "ms", title=f"{photos} photos")
    for row in rows:
        figures = ", ".join(
            f"{one.name} {one.value:.3f}" + (f" (chance {one.chance:.2f})" if one.chance is not None else "")
            for one in row.figures
        )
        time = f"{row.milliseconds:.0f}" if row.figures else ""
        shown.add_row(plain(row.name), plain(figures or f"– {row.reason}"), time)
    Console().print(shown)
    meanings = {one.name: one.meaning for row in rows for one in row.figures}
    for name, meaning in meanings.items():
        sys.stdout.write(f"{name}: {meaning}\n")


def _tell_json(rows: Sequence[Row], photos: int) -> None:
    document = {"photos": photos, "services": [_document(row) for row in rows]}
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _document(row: Row) -> dict[str, object]:
    if not row.figures:
        return {"name": row.name, "reason": row.reason}
    figures = {
        one.name: {"value": round(one.value, 4), "meaning": one.meaning}
        | ({} if one.chance is None else {"chance": round(one.chance, 4)})
        for one in row.figures
    }
    return {"name": row.name, "milliseconds": round(row.milliseconds, 1), "figures": figures}
