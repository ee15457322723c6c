"""`windmill index build`: its arguments and what it does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from windmill import wiring
from windmill.commands import ingest
from windmill.errors import ClusterError, ConfigError, StoreError, StoreUnavailable
from windmill.extras import needs
from windmill.model import Numbering
from windmill.plain import line
from windmill.progress import meter
from windmill.settings import Settings

if TYPE_CHECKING:
    from windmill.engines.building import Built, Engine, Plan
    from windmill.engines.in_process import InProcess
    from windmill.index.store import VectorStore
from windmill.index.stores import prefix_of

log = logging.getLogger(__name__)

_NAMED = 20  # bad files that are told by name
_MOST_AT_ONCE = 1024
_BEST, _ALWAYS = "clip", "label_embedding"
_INTERRUPTED = "cut short; the {:,} images that the index has stay. The same command goes on from here\n"

HELP = """\
Embeds the images of a folder and all below it into an index, which `windmill search` and `windmill web` ask.

  windmill index build --image-dir ~/Photos                    with the model of this box's choice
  windmill index build --image-dir ~/Photos --service clip --index-prefix photos
  windmill index build --image-dir /nas/photos --engine queue              by index workers, on any boxes
  windmill index build --image-dir /nas/photos --engine queue --workers 2  by two that are started here
  windmill index build --image-dir /nas/photos --engine ray --ray-address auto
  windmill index build --image-dir hdfs:///photos --engine spark --spark-master yarn

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
        "--group", metavar="NAME", help="with --engine queue: of new images (default: the folder's name)"
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="with --engine queue: start N workers here"
    )
    parser.add_argument(
        "--ray-address", default="local", metavar="A", help="local, auto, HOST:PORT or ray://HOST:PORT"
    )
    parser.add_argument(
        "--spark-master", default="local[*]", metavar="M", help="local[N], spark://HOST:PORT, yarn, k8s://…"
    )
    parser.add_argument("--no-merge", action="store_true", help="leave what is new in segments")
    parser.add_argument("--json", action="store_true", help="the summary as JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """An engine, what opens its index, or begins it, and how many photos its model is best shown at once."""

    engine: Engine
    store: Callable[[], VectorStore]
    batch: int


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.batch is not None and not 1 <= args.batch <= _MOST_AT_ONCE:
        raise ConfigError(f"--batch {args.batch}: expected 1 to {_MOST_AT_ONCE}")
    with needs("index,services"):
        from windmill.engines.building import Plan
    prefix = prefix_of(args.index_prefix or settings.index_prefix)
    service = args.service or _service(prefix)
    ready = ENGINES[args.engine](args, settings, prefix, service)
    store = ready.store()
    plan = Plan(source=args.image_dir, service=service, batch=args.batch or ready.batch)
    try:
        with meter("embedding", "images", None) as progress:
            built = ready.engine(plan, store, ingest.Counted(args.image_dir, progress))
    except (KeyboardInterrupt, StoreError, ClusterError):
        sys.stderr.write(_INTERRUPTED.format(store.count()))
        raise
    if not args.no_merge and store.count():
        _merge(prefix)
    said = json.dumps(_document(prefix, store, plan, built)) if args.json else _summary(prefix, store, built)
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
        from windmill.engines.local import Local

        model = _model(service)
    files = wiring.images(settings)
    notes = prefix / "files.sqlite"
    engine = Local(model=model, read=lambda one: ingest.read(files, one), notes=notes)
    return _by_content(engine, model, prefix)


def _ray(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:  # noqa: ARG001
    """Boxes of a cluster of Ray."""
    _installed("ray", "ray")
    with needs("ray"):
        from windmill.engines.ray import Ray

        return _by_content(Ray(args.ray_address), _model(service), prefix)


def _spark(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:  # noqa: ARG001
    """Boxes of a cluster of Spark."""
    _installed("pyspark", "spark")
    with needs("spark"):
        from windmill.engines.spark import Spark

        return _by_content(Spark(args.spark_master), _model(service), prefix)


def _installed(library: str, extra: str) -> None:
    """Raises `ConfigError` before an index is begun: libraries that take long are imported late."""
    if importlib.util.find_spec(library) is None:
        raise ConfigError(f"{library} is missing: pip install 'windmill-images[{extra}]'")


def _model(service: str) -> InProcess:
    """The service's model; on a cluster's driver, to know what the index is to be of."""
    from windmill.engines.in_process import InProcess

    return InProcess(service)


def _by_content(engine: Engine, model: InProcess, prefix: Path) -> _Ready:
    """An engine that needs no database."""
    from windmill.index.files import create

    store = partial(create, prefix, model.embedder, Numbering.CONTENT)
    return _Ready(engine=engine, store=store, batch=model.batch)


def _queue(args: argparse.Namespace, settings: Settings, prefix: Path, service: str) -> _Ready:
    """Workers elsewhere, or started here."""
    with needs("index"):
        from windmill.commands import queue_build

    batch = args.batch or settings.worker_batch_size
    wanted = queue_build.Wanted(
        folder=args.image_dir,
        group=args.group or Path(args.image_dir).resolve().name or "default",
        service=service,
        prefix=prefix,
        batch=batch,
        workers=args.workers,
    )
    engine = queue_build.engine(wanted, settings)
    return _Ready(engine=engine, store=lambda: queue_build.index(wanted), batch=batch)


ENGINES: Mapping[str, Callable[[argparse.Namespace, Settings, Path, str], _Ready]] = {
    "local": _local,
    "queue": _queue,
    "ray": _ray,
    "spark": _spark,
}


def _merge(prefix: Path) -> None:
    from windmill.index.files import merge

    try:
        with meter("merging", "images", None) as progress:
            merge(prefix, progress)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, BlockingIOError):  # the lock is what somebody else has
            raise
        log.warning("%s: not merged here: somebody else is merging it, a worker perhaps", prefix)


def _summary(prefix: Path, store: VectorStore, built: Built) -> str:
    """What there is now; names some bad files on standard error."""
    for told in built.bad[:_NAMED]:
        sys.stderr.write(f"bad: {line(told)}\n")
    if built.bad_count > _NAMED:
        sys.stderr.write(f"… and {built.bad_count - _NAMED:,} more bad files (--json names more)\n")
    parts = [f"{built.added:,} embedded now", f"{built.known:,} files known", f"{built.bad_count:,} bad"]
    if built.without:
        parts.append(f"{built.without:,} in which the model finds nothing to embed")
    parts.append(f"{built.ignored:,} other files")
    by = f" by {store.embedder}" if store.count() else ""
    return f"{line(prefix)}: {store.count():,} images{by}; {', '.join(parts)}"


def _document(prefix: Path, store: VectorStore, plan: Plan, built: Built) -> dict[str, object]:
    return {
        "index": str(prefix),
        "service": plan.service,
        "images": store.count(),
        "added": built.added,
        "known": built.known,
        "without": built.without,
        "ignored": built.ignored,
        "bad_count": built.bad_count,
        "bad": list(built.bad),
    }
