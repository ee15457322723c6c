"""`windmill index delete`: its arguments and what it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from windmill.extras import needs
from windmill.settings import Settings

HELP = """\
Takes images out of an index, by image id: they are found no more from now on, and gone from its files with
the next merge. The photos themselves, and what the database knows of them, stay.

  windmill index delete 17 23                 from the index at INDEX_PREFIX
  windmill index delete 17 --index photos"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", type=int, metavar="IMAGE_ID")
    parser.add_argument("--index", type=Path, metavar="PREFIX", help="the index (default: INDEX_PREFIX)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with needs("index"):
        import numpy as np

        from windmill.index.files import open_index
    store = open_index(args.index or Path(settings.index_prefix))
    ids = np.array(args.ids, np.int64)
    there = set(store.fetch(ids).ids.tolist())
    store.delete(ids)
    for image_id in args.ids:
        said = "deleted" if image_id in there else "is not in the index"
        sys.stdout.write(f"image {image_id} {said}\n")
    return 0 if there.issuperset(args.ids) else 1
