"""`windmill index delete`: its arguments and what it does."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

import numpy as np

from windmill.index.stores import open_store
from windmill.model import MOST_ID
from windmill.plain import line
from windmill.settings import Settings

HELP = """\
Takes images out of an index, by image id: they are found no more from now on, and gone from its files with
the next merge. The photos themselves, and what the database knows of them, stay.

  windmill index delete 17 23                 from the index at INDEX_PREFIX
  windmill index delete 17 --index photos"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="+", type=_image_id, metavar="IMAGE_ID")
    parser.add_argument("--index", metavar="PREFIX", help="the index, in any store (default: INDEX_PREFIX)")


def _image_id(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= len(str(MOST_ID)) else -1
    if not 0 <= number <= MOST_ID:
        raise argparse.ArgumentTypeError(f"{line(text, 40)}: expected an image's id, 0 to {MOST_ID}")
    return number


def run(args: argparse.Namespace, settings: Settings) -> int:
    ids = np.array(args.ids, np.int64)
    with closing(open_store(args.index or settings.index_prefix, settings)) as store:
        there = set(store.fetch(ids).ids.tolist())
        store.delete(ids)
    for image_id in args.ids:
        said = "deleted" if image_id in there else "is not in the index"
        sys.stdout.write(f"image {image_id} {said}\n")
    return 0 if there.issuperset(args.ids) else 1
