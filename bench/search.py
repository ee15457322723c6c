"""How fast search is: building an index, merging it, and asking it, beside what else would do it.

    python -m bench.search                      all, with 100,000 and 1,000,000 vectors: an hour
    python -m bench.search --quick              a look at each part with small ones: a minute or two
    python -m bench.search --only query --sizes 100000 --keep DIR
    python -m bench.search --only query --clip-retrieval /elsewhere/bin/python

`build` embeds photos with the engine `local`, and with the same model in a bare loop over batches. `merge`
makes one index of segments of a thousand vectors, in a process whose memory is watched. `query` asks what was
merged, filtered or not, with FAISS alone on the same file beside it. Vectors are made like those of real
models (`bench.made_vectors`), of 512 numbers; queries are others of the same kind. clip-retrieval cannot be
installed beside Windmill (bench/README.md): name the Python of an environment that has it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import building, indexes, querying
from bench.made_vectors import Made
from bench.rounds import Part, Seen, arguments, at_least, cell, interleaved, tell
from windmill.index.files import open_index

SIZES, QUICK = (100_000, 1_000_000), (20_000,)
PARTS = ("build", "merge", "query")
WINDMILL, LOOP = building.WINDMILL, building.LOOP
BARE, PEER = "FAISS alone", "clip-retrieval"


def merges(folder: Path, scratch: Path, made: Made, sizes: Sequence[int]) -> Mapping[str, Part]:
    """Each round merges the same segments anew; the last is what queries ask."""
    counted = iter(range(sys.maxsize))

    def part(prefix: Path) -> Mapping[str, float]:
        copy = indexes.linked(prefix, scratch / f"merge{next(counted)}")
        figures = indexes.merged(copy)
        indexes.keep(copy, prefix)
        return figures

    return {f"merge of {size:,}": partial(part, indexes.written(folder, made, size)) for size in sizes}


def queries(
    folder: Path, made: Made, sizes: Sequence[int], count: int, peer: str, stack: ExitStack
) -> Mapping[str, Part]:
    """Each size, with and without a filter; clip-retrieval has none."""
    parts: dict[str, Part] = {}
    for size in sizes:
        prefix = indexes.ready(folder, made, size)
        asked = querying.Asked.of(made, size, count)
        store, alone = open_index(prefix), querying.Bare.of(prefix)
        for space, among in asked.among.items():
            name = f"{size:,} {alone.kind}, {space}"
            parts[f"{name}: {WINDMILL}"] = partial(asked.timed, space, querying.ours(store, among))
            parts[f"{name}: {BARE}"] = partial(asked.timed, space, alone.asks(among))
        if peer:
            there = folder / f"clip-retrieval-{made.even}-{made.seed}-{size}"
            part = stack.enter_context(querying.clip_retrieval(peer, there, made, size, asked))
            parts[f"{size:,}, all: {PEER}"] = part
    return parts


def summary(seen: Seen) -> list[str]:
    """What part of a bare loop's images Windmill embeds, and what a query takes more than by FAISS alone."""
    lines = []
    for name, part in seen.items():
        alone = seen.get(name.removesuffix(WINDMILL) + BARE)
        looped = seen.get(name.removesuffix(WINDMILL) + LOOP)
        if looped and name.endswith(WINDMILL):
            both = zip(part[building.SPEED], looped[building.SPEED], strict=False)  # if it was interrupted
            lines.append(f"{name}: {cell([one / loop for one, loop in both])} of the loop's images/s")
        if alone and name.endswith(WINDMILL):
            more = [f"{unit} {_middle(part, unit) - _middle(alone, unit):+.2f}" for unit in querying.TIMES]
            lines.append(f"{name}: beside {BARE}: {', '.join(more)}")
    return lines


def _middle(part: Mapping[str, Sequence[float]], unit: str) -> float:
    return statistics.median(part[unit])


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return names


def _sizes(text: str) -> list[int]:
    return [at_least(1000)(one) for one in text.split(",")]


def _arguments() -> argparse.Namespace:
    parser = arguments("search", __doc__, rounds=5)
    parser.add_argument(
        "--only", type=_parts, default=list(PARTS), metavar="PART,…", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--sizes", type=_sizes, metavar="N,…", help="vectors of an index")
    parser.add_argument(
        "--queries", type=at_least(1), default=500, help="of one part of a round (default: %(default)s)"
    )
    parser.add_argument(
        "--service", default="label_embedding", help="that `build` embeds with (default: %(default)s)"
    )
    parser.add_argument("--images", type=at_least(1), help="that `build` embeds (default: 960)")
    parser.add_argument(
        "--even", action="store_true", help="vectors from all over the sphere: the worst case"
    )
    parser.add_argument("--quick", action="store_true", help="20,000 vectors, two rounds")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="where made vectors, and indexes of them, stay for the next time",
    )
    parser.add_argument(
        "--clip-retrieval", default="", metavar="PYTHON", help="of an environment that has it"
    )
    args = parser.parse_args()
    args.sizes = args.sizes or (QUICK if args.quick else SIZES)
    args.images = args.images or (120 if args.quick else 960)
    args.rounds = min(args.rounds, 2) if args.quick else args.rounds
    return args


def _measured(args: argparse.Namespace, folder: Path, scratch: Path, stack: ExitStack) -> Sequence[Seen]:
    """What each part gave."""
    made, seen = Made(even=args.even), []
    if "build" in args.only:
        seen.append(interleaved(building.parts(args.service, scratch, args.images), args.rounds))
    if "merge" in args.only:
        seen.append(interleaved(merges(folder, scratch, made, args.sizes), max(1, args.rounds // 3)))
    if "query" in args.only:
        parts = queries(folder, made, args.sizes, args.queries, args.clip_retrieval, stack)
        seen.append(interleaved(parts, args.rounds))
    return seen


def _together(seen: Sequence[Seen]) -> Seen:
    return {name: part for one in seen for name, part in one.items()}


def main() -> None:
    args = _arguments()
    with ExitStack() as stack:
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.keep)))
        folder = args.keep or scratch
        seen = _measured(args, folder, scratch, stack)
    for one in [_together(seen)] if args.json else seen:
        tell(one, as_json=args.json)
    for line in summary(_together(seen)):
        sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
