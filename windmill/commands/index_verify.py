"""`windmill index verify`: its arguments and what it does."""

from __future__ import annotations

import argparse
import json
import sys

from windmill.extras import needs
from windmill.index.stores import prefix_of
from windmill.plain import line
from windmill.progress import meter
from windmill.settings import Settings

HELP = """\
Compares everything that an index says twice: the merged files with their checksums, FAISS's vectors and ids
with the parquet file's, each segment's two files, all of them with the model in meta.json; and each image
must be found by its own vector. Says what is wrong, in which file, and what helps.

  windmill index verify photos                exit status 0: all is well, 1: something is wrong
  windmill index verify photos --repair       sets damaged segments aside, makes FAISS's file anew"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prefix", nargs="?", help="the index (default: INDEX_PREFIX)")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended")
    parser.add_argument("--json", action="store_true", help="what is wrong as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with needs("index"):
        from windmill.index.files import open_index, repair, verify
    prefix = prefix_of(args.prefix or settings.index_prefix)
    with meter("verifying", "images", None) as progress:
        found = repair(prefix, progress) if args.repair else verify(prefix, progress)
    if args.json:
        told = [{"file": str(one.path), "what": one.what, "remedy": one.remedy} for one in found]
        sys.stdout.write(json.dumps({"prefix": str(prefix), "drift": told}) + "\n")
    elif found:
        for one in found:
            sys.stdout.write(f"{one.path}: {line(one.what)}\n  remedy: {one.remedy}\n")
    else:
        index = open_index(prefix)
        sys.stdout.write(f"{prefix}: all is well: {index.count():,} images by {index.embedder}\n")
    return 1 if found else 0
