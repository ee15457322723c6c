"""`windmill index merge`: its arguments and what it does."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict

from windmill.extras import needs
from windmill.index.stores import prefix_of
from windmill.progress import meter
from windmill.settings import Settings

_GENTLY = 19  # what is taken off the priority

HELP = """\
Merges the segments of an index into PREFIX.parquet (sorted rows), PREFIX.faiss (what is searched) and
PREFIX.meta.json (model, version, dimension, count, checksums).

Memory does not grow with the collection. The index can be searched and added to meanwhile; killed at any
moment, it is as it was, or merged. How FAISS searches is chosen by the number of images: one by one up to
10,000, a graph (HNSW) up to 256 MB of vectors, inverted lists on the disk (IVF) beyond.

  windmill index merge photos                 the index at the prefix photos
  windmill index merge photos --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="?", help="the index (default: INDEX_PREFIX)")
    parser.add_argument("--gently", action="store_true", help="only with what others leave of the processor")
    parser.add_argument("--json", action="store_true", help="what was done as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with needs("index"):
        from windmill.index.files import merge
    if args.gently:
        os.nice(_GENTLY)
    prefix = prefix_of(args.prefix or settings.index_prefix)
    with meter("merging", "images", None) as progress:
        done = merge(prefix, progress)
    if args.json:
        sys.stdout.write(json.dumps(asdict(done)) + "\n")
    elif done.segments:
        sys.stdout.write(f"{prefix}: {done.count:,} images; {done.segments:,} segments were merged\n")
    else:
        sys.stdout.write(f"{prefix}: {done.count:,} images; nothing was to be merged\n")
    return 0
