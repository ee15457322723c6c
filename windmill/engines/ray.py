"""Embeds a folder on a cluster of Ray, by Ray Data; every box sees the folder at the same place."""

from __future__ import annotations

import io
import itertools
import logging
import os
import pickle
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windmill.engines.building import Built, Plan
from windmill.engines.gathering import Gathering
from windmill.engines.looking import File, Indexed, Part, Stopped, Work, parts
from windmill.errors import ClusterError, ConfigError, ImageError
from windmill.extras import needs
from windmill.files import read_file
from windmill.index.store import VectorStore
from windmill.ingesting import candidates
from windmill.progress import Meter
from windmill.services.uploads import MOST_BYTES

if TYPE_CHECKING:
    import pyarrow as pa

LOCAL = "local"
_LOOPBACK = "127.0.0.1"

_WINDOW = 500_000  # files that are handed over at once: their paths are what the memory here holds
_BATCHES = 4  # of one piece of work: what has to be done again where a box dies
_CORES = 2  # for an actor: its model's threads, and those that decode for it
_KNOCK = 10.0  # seconds
_STORE = 256 << 20  # bytes of shared memory for a cluster of our own: paths go in, and 2 kB an image come out


@dataclass(frozen=True, slots=True)
class Ray:
    """A `building.Engine`. `address` is `local` (a cluster on this box, for as long as it takes), or what
    `ray.init` takes: `auto`, `HOST:PORT`, `ray://HOST:PORT`."""

    address: str = LOCAL

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built:
        """Raises `ConfigError`, `ClusterError`, `StoreError`."""
        run = Gathering(store, meter)
        paths = _paths(plan.source, run)
        work = Work(
            service=plan.service,
            embedder=store.embedder,
            batch=plan.batch,
            folder=str(Path(plan.source).absolute()),
        )
        some = list(itertools.islice(paths, _WINDOW))
        if some:
            with _cluster(self.address) as ray:
                boxes = _Boxes(ray, work, run.indexed)
                while some:
                    with closing(boxes.parts(some)) as found:
                        run.take(found)
                    some = list(itertools.islice(paths, _WINDOW))
        return run.built()


def _paths(source: str, run: Gathering) -> Iterator[str]:
    """The files of a folder, found as `windmill ingest` does, that are not in the index."""
    if not Path(source).is_dir():
        raise ConfigError(f"{source}: no such folder; with Ray, all boxes read one that each of them sees")
    for one in candidates(source, "", io.StringIO()):
        try:
            one.check()
        except ImageError as error:
            run.refuse(str(error))
            continue
        if not run.known(one.name):
            yield one.name


class _Boxes:
    """A cluster's actors, each with the model in its memory."""

    def __init__(self, ray: Any, work: Work, indexed: Indexed) -> None:
        self._work = work
        self._indexed = ray.put(indexed)
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not cores:
            raise ClusterError("this cluster of Ray has no CPUs")
        self._cores = min(_CORES, cores)
        self._actors = max(1, cores // _CORES)

    def parts(self, paths: Sequence[str]) -> Generator[Part | Stopped, None, None]:
        import pyarrow as pa
        from ray.data import ActorPoolStrategy, from_arrow

        size = _BATCHES * self._work.batch
        starts = range(0, len(paths), size)
        pieces = [pa.table({"path": paths[start : start + size]}) for start in starts]
        done = from_arrow(pieces).map_batches(
            _Actor,
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=min(self._actors, len(pieces))),
            num_cpus=self._cores,
            fn_constructor_args=(self._work, [self._indexed]),
        )
        for batch in done.iter_batches(batch_size=None, batch_format="pyarrow"):
            for pickled in batch["part"].to_pylist():
                yield pickle.loads(pickled)  # noqa: S301 -- of our own actors


class _Actor:
    """A process on a box. Parts travel pickled, one in a row: Ray has no use for what is in them."""

    def __init__(self, work: Work, indexed: Sequence[Any]) -> None:
        import ray

        self._work = work
        self._indexed: Indexed = ray.get(indexed[0])

    def __call__(self, batch: pa.Table) -> Mapping[str, Sequence[bytes]]:
        files = (_file(path) for path in batch["path"].to_pylist())
        return {"part": [pickle.dumps(part) for part in parts(self._work, self._indexed, files)]}


def _file(path: str) -> File:
    return File(path=path, read=lambda: read_file(Path(path), MOST_BYTES))


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """`ray`, connected. It reports its use to nobody, and what goes wrong as an error alone.

    Where the cluster is this box alone, it listens on loopback alone: so Ray does where clusters of several
    boxes are switched off, which on Linux takes a variable that is named after others.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address.split(":")[0] in (LOCAL, _LOOPBACK, "localhost"):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    with needs("ray"):
        import ray
        import ray.data
    _knock(address)
    try:
        _connect(ray, address)
        yield ray
    except ray.exceptions.RayError as exc:
        raise ClusterError(f"Ray at {address}: {exc}") from exc
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises `ClusterError` where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _KNOCK).close()
        except (OSError, OverflowError) as exc:
            raise ClusterError(f"Ray at {address}: nobody answers there: {exc}") from exc


def _connect(ray: Any, address: str) -> None:
    own = {"include_dashboard": False, "object_store_memory": _STORE} if address == LOCAL else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as exc:  # away; of another version; no address
        raise ClusterError(f"Ray at {address}: {exc}") from exc
    if address == LOCAL and ray.util.get_node_ip_address() != _LOOPBACK:
        raise ClusterError(f"Ray does not keep to {_LOOPBACK}: it was imported before it could be told to")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
