"""`windmill index load`: its arguments and what it does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing

import numpy as np

from windmill.index.loading import Checked, Loaded, check, load
from windmill.index.stores import create_store, open_store
from windmill.index.vectors import Ids
from windmill.plain import line
from windmill.progress import meter
from windmill.settings import Settings

HELP = """\
Brings all images of an index into another store, and looks whether they are there: it compares the count and
1,000 images, and looks for 100 of these by their own vectors.

  windmill index load photos --store milvus:photos.db                 Milvus Lite (extra `[milvus]`)
  windmill index load photos --store milvus:http://db1:19530#photos   a Milvus server; MILVUS_TOKEN logs in
  windmill index load photos --store pgvector:photos                  a table in the database of the settings
  windmill index load pgvector:photos --store copies/photos           from any store into any other

Only what the target has not, or has otherwise, is written: begun anew it goes on where it broke off, and a
second time it brings what is new. Images that only the target has are told, and deleted with --prune.
Exit status: 0 done, and all is there; 1 something is not, or a store stayed away; 2 wrong settings, or no
such index; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="PREFIX", help="the index (default: INDEX_PREFIX)")
    parser.add_argument("--store", required=True, metavar="ADDRESS", help="where to: see above")
    parser.add_argument("--prune", action="store_true", help="delete what only the target has")
    parser.add_argument("--json", action="store_true", help="what was done and seen, as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    with (
        closing(open_store(args.source or settings.index_prefix, settings)) as source,
        closing(create_store(args.store, source.embedder, source.numbering, settings)) as target,
    ):
        with meter("loading", "images", source.count()) as progress:
            done = load(source, target, progress, prune=args.prune)
        seen = check(source, target, done, np.random.default_rng())
    if args.json:
        sys.stdout.write(json.dumps(_document(args.store, done, seen)) + "\n")
    else:
        sys.stdout.write("".join(f"{line(said)}\n" for said in _sentences(args.store, done, seen)))
    return 0 if seen.well else 1


def _document(store: str, done: Loaded, seen: Checked) -> dict[str, object]:
    return {
        "store": store,
        "images": len(done.ids),
        "written": done.written,
        "stale": len(done.stale),
        "pruned": done.pruned,
        "well": seen.well,
        "count": seen.images,
        "expected": seen.expected,
        "compared": seen.sampled,
        "wrong": seen.wrong.tolist(),
        "searched": seen.asked,
        "found": seen.found,
    }


def _sentences(store: str, done: Loaded, seen: Checked) -> Iterator[str]:
    there = len(done.ids) - done.written
    yield f"{store}: {done.written:,} images written, {there:,} were there"
    if len(done.stale):
        fate = "deleted" if done.pruned else "kept; --prune deletes them"
        yield f"only {store} had {len(done.stale):,} images ({_some(done.stale)}): {fate}"
    yield (
        f"checked: {seen.images:,} images, {seen.expected:,} expected; {seen.sampled - len(seen.wrong):,} of"
        f" {seen.sampled:,} are as in the source; {seen.found} of {seen.asked} are found by their vectors"
    )
    if not seen.well:
        other = f" (other or missing: {_some(seen.wrong)})" if len(seen.wrong) else ""
        yield f"not all is there{other}: load again, and nobody else should write meanwhile"


def _some(ids: Ids) -> str:
    return ", ".join(map(str, ids[:5].tolist())) + (", …" if len(ids) > 5 else "")
