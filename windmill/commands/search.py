"""`windmill search`: words, an image, or both → the images that are nearest to them."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.text import Text

from windmill import report
from windmill.commands import searchers
from windmill.commands.sheets import wide
from windmill.core import where
from windmill.errors import ConfigError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.index import answers, copying, searching
from windmill.index.answers import Told
from windmill.index.remote import RemoteIndex
from windmill.index.searching import Answer, Query
from windmill.index.vectors import Hit
from windmill.model import Image
from windmill.plain import document, line
from windmill.progress import folding, plain
from windmill.settings import Settings

_FOUND = ("votes", "merged boxes")

HELP = """\
Finds images by what they show: by words, by an image, or by both (the middle of the two). What is searched is
an index (`windmill index build`), with the model that made it: the service of service_config.json if it
answers, else one in this process.

  windmill search a yellow car                         the ten nearest images
  windmill search --image mine.jpg --top-k 50
  windmill search --like 4711                          more like this one of the index
  windmill search a dog --where "votes ? '🐕' and nsfw < 0.1"
  windmill search a dog --copy-results found           match_20260131_120000_rank001.jpg, …
  windmill search a dog --remote https://photos.example.org --json

What scores less than the cut-off does not fit, and is not shown; --min-score sets another (-1: all fits).
docs/search.md says what --where knows, and how far the cut-off can be trusted.
Exit status: 0 something fits; 1 nothing does, an original could not be copied, or something that is needed is
away; 2 wrong arguments or settings."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="WORDS", help="what is looked for; as --text")
    parser.add_argument("--text", metavar="WORDS", help="what is looked for")
    parser.add_argument("--image", type=Path, metavar="FILE", help="an image like what is looked for")
    parser.add_argument("--like", type=int, metavar="IMAGE_ID", help="an image of the index that is like it")
    parser.add_argument("--top-k", type=int, default=10, metavar="N", help="at most N images (default: 10)")
    parser.add_argument("--where", default="", metavar="CONDITION", help="only images that meet a condition")
    parser.add_argument("--min-score", type=float, metavar="S", help="the least cosine that fits, -1 to 1")
    parser.add_argument("--index", metavar="PREFIX", help="the index (default: INDEX_PREFIX)")
    parser.add_argument("--remote", metavar="URL", help="ask the `windmill web` there instead")
    parser.add_argument("--copy-results", type=Path, metavar="DIR", help="copy the files that were found")
    parser.add_argument("--json", action="store_true", help="the answer as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    query = _query(args, settings)
    searching.check(query)
    with _place(args, settings) as place:
        told = place.search(query)
        if args.json:
            sys.stdout.write(document(answers.document(query, told, args.where)) + "\n")
        else:
            _tell(query, told)
        whole = not args.copy_results or not told.answer.hits or _copy(place, told, args.copy_results)
    return 0 if told.answer.hits and whole else 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where is searched, and how the file of a hit is read (raises `ImageError`)."""

    search: Callable[[Query], Told]
    original: Callable[[Hit], bytes]


def _query(args: argparse.Namespace, settings: Settings) -> Query:
    """What is asked for. Raises `ConfigError`, and `ImageError` for a file that is no image."""
    if args.words and args.text is not None:
        raise ConfigError("--text: the words stand there already without it")
    if args.min_score is not None and not math.isfinite(args.min_score):
        raise ConfigError("--min-score: expected a number, -1 to 1")
    return Query(
        text=" ".join(args.words) if args.text is None else args.text,
        image=_image(args.image, settings) if args.image else None,
        like=args.like,
        most=args.top_k,
        where=where.parse(args.where) if args.where and not args.remote else None,
        least=args.min_score,
    )


def _image(path: Path, settings: Settings) -> tuple[str, bytes]:
    """A file that is an image, of a size that is allowed. Raises `ImageError`."""
    data = read_file(path, int(settings.max_image_mb * 1_000_000))
    ImageFiles(settings).inspect(str(path), data)
    return path.name, data


@contextmanager
def _place(args: argparse.Namespace, settings: Settings) -> Iterator[Place]:
    """A server elsewhere, or the index here. Raises `ConfigError`."""
    if args.remote:
        most = int(settings.max_image_mb * 1_000_000)
        there = RemoteIndex(args.remote, settings.web_token)
        yield Place(lambda query: there.search(query, args.where), lambda hit: there.file(hit.image_id, most))
        return
    files = ImageFiles(settings)
    with searchers.opened(args.index or settings.index_prefix, settings) as search:
        yield Place(search, lambda hit: files.read(_original(hit)))


def _original(hit: Hit) -> Image:
    if "://" in hit.path:
        return Image(image_id=hit.image_id, url=hit.path)
    return Image(image_id=hit.image_id, path=hit.path)


def _tell(query: Query, told: Told) -> None:
    """A table of the hits; or why there are none."""
    console = wide()
    if not told.answer.hits:
        console.print(Text(f"nothing fits: {nothing(query, told.answer)}"), soft_wrap=True)
        return
    table = folding(("", "score", "image", "path", *(_FOUND if told.found else ())), ("", "score", "image"))
    for rank, hit in enumerate(told.answer.hits, 1):
        found = told.found.get(hit.image_id)
        cells = (report.votes(found), report.boxes(found)) if found else ()
        table.add_row(*map(plain, (rank, f"{hit.score:.3f}", hit.image_id, hit.path, *cells)))
    console.print(table)


def nothing(query: Query, answer: Answer) -> str:
    """Why no image fits, and how to see the nearest ones all the same."""
    if answer.best is None:
        return "the index is empty" if answer.matching is None else "no image of the index meets --where"
    seen = math.floor(100 * answer.best) / 100
    which = f" of the {answer.matching:,} images that meet --where" if answer.matching is not None else ""
    said = f"the best score{which} is {answer.best:.3f}, and the cut-off {answer.least:.3f}"
    return f"{said}; --min-score {seen:.2f} shows it, and -1 all" if query.least is None else said


def _copy(place: Place, told: Told, folder: Path) -> bool:
    """Whether all originals were there."""
    now = datetime.now().astimezone()
    copied = copying.copy(told.answer.hits, place.original, folder, now)
    sys.stderr.write(f"copied to {line(folder)}: {len(copied.files)} of {len(told.answer.hits)}\n")
    for missing in copied.missing:
        sys.stderr.write(f"not copied: {missing}\n")
    return not copied.missing
