"""`windmill index build`: its arguments and what it does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from windmill import wiring
from windmill.commands import ingest
from windmill.errors import ClusterError, ConfigError, StoreError
from windmill.extras import needs
from windmill.model import Numbering
from windmill.plain import line
from windmill.progress import meter
from windmill.settings import Settings

if TYPE_CHECKING:
    from windmill.engines.building import Built, Engine
    from windmill.index.files import FaissFiles
    from windmill.index.vectors import Embedder

log = logging.getLogger(__name__)

_NAMED = 20  # bad files that are told by name
_MOST_AT_ONCE = 1024
_BEST, _ALWAYS = "clip", "label_embedding"
_INTERRUPTED = "cut short; the {:,} images that the index has stay. The same command goes on from here\n"

HELP = """\
Embeds the images of a folder and all below it into an index, which `windmill search` and `windmill web` ask.

  windmill index build --image-dir ~/Photos                    with the model of this box's choice
  windmill index build --image-dir ~/Photos --service clip --index-prefix photos

What the index has already is not embedded again, by whatever name: the same command goes on where it was
interrupted, and later adds what is new. A file that has not changed is not even read. Bad files are told by
name and stop nothing. At the end the index is merged.

--service: an embedding service (docs/services.md); without it the one that made the index, and for a new one
clip where its weights are here, else label_embedding.

Exit status: 0 all there, 1 some files were bad or there was no image at all, 2 nothing could be done, 130
interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-dir", required=True, metavar="DIR", help="where the images are")
    parser.add_argument("--index-prefix", metavar="P", help="where the index is (default: INDEX_PREFIX)")
    parser.add_argument("--engine", choices=list(ENGINES), default="local", help="(default: %(default)s)")
    parser.add_argument("--service", metavar="NAME", help="whose embeddings")
    parser.add_argument("--batch", type=int, metavar="N", help="images that the model is shown at once")
    parser.add_argument(
        "--ray-address",
        default="local",
        metavar="A",
        help="with ray: local, auto, HOST:PORT (default: local)",
    )
    parser.add_argument(
        "--spark-master",
        default="local[*]",
        metavar="M",
        help="with spark: spark://HOST:PORT (default: local[*])",
    )
    parser.add_argument("--no-merge", action="store_true", help="leave what is new in segments")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """An engine, the model whose vectors it makes, how many photos that gains by seeing at once, and what
    the ids in its index are."""

    engine: Engine
    embedder: Embedder
    batch: int
    numbering: Numbering


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.batch is not None and not 1 <= args.batch <= _MOST_AT_ONCE:
        raise ConfigError(f"--batch {args.batch}: expected 1 to {_MOST_AT_ONCE}")
    with needs("index,services"):
        from windmill.engines.building import Plan
        from windmill.index.files import create
    prefix = Path(args.index_prefix or settings.index_prefix)
    service = args.service or _service(prefix)
    ready = ENGINES[args.engine](args, settings, prefix, service)
    store = create(prefix, ready.embedder, ready.numbering)
    plan = Plan(source=args.image_dir, service=service, batch=args.batch or ready.batch)
    try:
        with meter("embedding", "images", None) as progress:
            built = ready.engine(plan, store, ingest.Counted(args.image_dir, progress))
    except (KeyboardInterrupt, ClusterError, StoreError):
        sys.stderr.write(_INTERRUPTED.format(store.count()))
        raise
    if not args.no_merge:
        _merge(prefix)
    said = json.dumps(_document(prefix, store, built)) if args.json else _summary(prefix, store, built)
    sys.stdout.write(f"{said}\n")
    return 1 if built.bad_count or not store.count() else 0


def _service(prefix: Path) -> str:
    """Whose embeddings, where nobody says; told with the reason."""
    from windmill.index.files import open_index
    from windmill.services import weights

    try:
        chosen, why = open_index(prefix).embedder.service, f"it made the index {prefix}"
    except ConfigError:
        if not weights.present(_BEST):
            chosen, why = _ALWAYS, f"{_BEST}'s weights are not here (windmill models pull {_BEST})"
        elif importlib.util.find_spec("sentence_transformers") is None:
            chosen, why = _ALWAYS, f"{_BEST} needs pip install 'windmill-images[torch]'"
        else:
            chosen, why = _BEST, "its weights are here"
    log.info("embeddings of %s: %s", chosen, why)
    return chosen


def _local(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:
    """The model in this process."""
    if not Path(args.image_dir).is_dir():
        raise ConfigError(f"--image-dir {args.image_dir}: no such folder")
    with needs("index,services"):
        from windmill.engines.in_process import InProcess
        from windmill.engines.local import Local

        model = InProcess(service)
    files = wiring.images(settings)
    notes = prefix / "files.sqlite"
    engine = Local(model=model, read=lambda one: ingest.read(files, one), notes=notes)
    return _Ready(engine=engine, embedder=model.embedder, batch=model.batch, numbering=Numbering.CONTENT)


def _ray(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:  # noqa: ARG001
    with needs("ray"):
        from windmill.engines.ray import Ray
    return _cluster(Ray(args.ray_address), service)


def _spark(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:  # noqa: ARG001
    with needs("spark"):
        from windmill.engines.spark import Spark
    return _cluster(Spark(args.spark_master), service)


def _cluster(engine: Engine, service: str) -> _Ready:
    """An engine whose boxes have the model; it is asked here what it is."""
    from windmill.engines.in_process import InProcess

    model = InProcess(service)
    return _Ready(engine=engine, embedder=model.embedder, batch=model.batch, numbering=Numbering.CONTENT)


ENGINES: Mapping[str, Callable[[argparse.Namespace, Settings, Path, str], _Ready]] = {
    "local": _local,
    "ray": _ray,
    "spark": _spark,
}


def _merge(prefix: Path) -> None:
    from windmill.index.files import merge

    with meter("merging", "images", None) as progress:
        merge(prefix, progress)


def _summary(prefix: Path, store: FaissFiles, built: Built) -> str:
    """What there is now; names some bad files on standard error."""
    for told in built.bad[:_NAMED]:
        sys.stderr.write(f"bad: {line(told)}\n")
    if built.bad_count > _NAMED:
        sys.stderr.write(f"… and {built.bad_count - _NAMED:,} more bad files (--json names more)\n")
    parts = [f"{built.added:,} embedded now", f"{built.known:,} files known", f"{built.bad_count:,} bad"]
    if built.without:
        parts.append(f"{built.without:,} in which the model finds nothing to embed")
    parts.append(f"{built.ignored:,} other files")
    return f"{line(prefix)}: {store.count():,} images by {store.embedder}; {', '.join(parts)}"


def _document(prefix: Path, store: FaissFiles, built: Built) -> dict[str, object]:
    return {
        "index": str(prefix),
        "service": store.embedder.service,
        "images": store.count(),
        "added": built.added,
        "known": built.known,
        "without": built.without,
        "ignored": built.ignored,
        "bad_count": built.bad_count,
        "bad": list(built.bad),
    }
