"""The merged index as FAISS searches it: built in bounded memory, of a kind that fits its size.

Few vectors are compared one by one. More lie in a graph (HNSW, Malkov and Yashunin 2016, arXiv:1603.09320),
which is in memory as a whole; still more in inverted lists around centroids (IVF, Jégou et al. 2011,
doi:10.1109/TPAMI.2010.57), which stay on the disk. The only place that knows FAISS's indexes.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
from faiss.contrib.ondisk import merge_ondisk

from windmill.errors import IndexDamaged
from windmill.index.files.meta import Tuning
from windmill.index.vectors import Floats, Ids

FLAT, HNSW, IVF = "flat", "hnsw", "ivf"

_FEW = 10_000  # vectors that are compared one by one: 1 to 3 ms
_BYTES = 256 << 20  # of vectors that building may have in memory at once
_LINKS, _CONSTRUCTION = 32, 80  # of HNSW: neighbours of a vector, and candidates for them
_PER_LIST = 32  # vectors to learn a centroid from, at least
_ROUNDS = 8  # of k-means
_ASKED, _NEAREST, _RECALL = 200, 11, 0.97  # how the effort is chosen; the first found is the one that asks
_EFFORTS = {HNSW: (64, 128, 256, 512, 1024), IVF: (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)}
_LITTLE = 1 << 20  # bytes of a disk that is full for all that FAISS writes
_DENSE = 1 << 28  # ids below it are selected by a bit each: 32 MB
_WIDE = 0.2  # share of images among which a graph is searched; among fewer, one by one

_talking = threading.Lock()
_NO_IDS = np.empty(0, np.int64)

Part = tuple[Ids, Floats]  # ids (n) and their vectors (n × dimension)


def kind(count: int, dimension: int) -> str:
    """What fits so many vectors."""
    if count <= _FEW:
        return FLAT
    return HNSW if count * dimension * 4 <= _BYTES else IVF


def build(
    parts: Callable[[], Iterable[Part]], count: int, dimension: int, path: Path, told: Callable[[int], None]
) -> Tuning:
    """Writes `path` (and beside it, for a large index, its lists) from vectors that `parts` gives as often as
    it is called; `told` hears how many are in it. Memory: 256 MB of vectors, however many there are."""
    chosen = kind(count, dimension)
    if chosen == IVF:
        _build_lists(parts, count, dimension, path, told)
    else:
        _build_in_memory(chosen, parts, dimension, path, told)
    return _tuned(Ann(path, Tuning(kind=chosen, effort=0, recall=1.0)), parts, count)


def write_flat(ids: Ids, vectors: Floats, path: Path) -> None:
    """A file with these vectors and their ids, for any program that knows FAISS."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, ids)
    _write(index, path)


def read_flat(path: Path) -> Part:
    """What `write_flat` wrote. Raises `IndexDamaged`."""
    index = _read(path, faiss.IO_FLAG_READ_ONLY)
    if not isinstance(index, faiss.IndexIDMap2):
        raise IndexDamaged(f"{path}: holds no vectors with ids")
    ids = faiss.vector_to_array(index.id_map)
    return ids, index.reconstruct_batch(ids) if len(ids) else np.empty((0, index.d), np.float32)


class Ann:
    """A merged index, to be searched. Thread-safe. Raises `IndexDamaged` where the file cannot be read."""

    def __init__(self, path: Path, tuning: Tuning) -> None:
        lists = tuning.kind == IVF
        self.tuning = tuning
        self._index = _read(path, faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_ONDISK_SAME_DIR)
        self._inner = self._index if lists else faiss.downcast_index(self._index.index)
        self._ids: Ids = _NO_IDS if lists else faiss.vector_to_array(self._index.id_map)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def search(
        self,
        queries: Floats,
        most: int,
        *,
        among: Ids | None = None,
        but: Ids = _NO_IDS,
        effort: int = 0,
        exact: bool = False,
    ) -> tuple[Floats, Ids]:
        """Scores and ids (queries × most, best first; id −1 where there are no more) of the nearest vectors:
        `among` these ids (ascending, at least one), or all `but` these.

        `effort`: other than the tuning says. `exact`: all of `among` are looked at.
        """
        effort = effort or self.tuning.effort
        if among is None:
            left = max(1, len(self) - len(but)) / max(1, len(self))
            chosen = faiss.IDSelectorNot(_these(but)) if len(but) else None
            return self._asked(queries, most, math.ceil(effort / left), chosen)
        share = len(among) / max(1, len(self))
        if self.tuning.kind == FLAT or (self.tuning.kind == HNSW and (exact or share < _WIDE)):
            return self._compared(queries, most, among)
        effort = self._inner.nlist if exact else math.ceil(effort / share)
        return self._asked(queries, most, effort, _these(among))

    def vectors(self, ids: Ids) -> Floats:
        """The vectors of these ids (n × dimension). Raises `KeyError` for one that is not there."""
        if self.tuning.kind == IVF and self._inner.direct_map.type == faiss.DirectMap.NoMap:
            self._inner.set_direct_map_type(faiss.DirectMap.Hashtable)
        try:
            found: Floats = self._index.reconstruct_batch(ids)
        except RuntimeError as exc:
            raise KeyError(str(exc)) from exc
        return found

    def _asked(self, queries: Floats, most: int, effort: int, chosen: object) -> tuple[Floats, Ids]:
        """FAISS's own search, with `effort`."""
        if self.tuning.kind == HNSW:
            given = faiss.SearchParametersHNSW(efSearch=max(effort, 2 * most), sel=chosen)
        elif self.tuning.kind == IVF:
            given = faiss.SearchParametersIVF(nprobe=min(effort, self._inner.nlist), sel=chosen)
        else:
            given = faiss.SearchParameters(sel=chosen)
        scores, ids = self._index.search(queries, most, params=given)
        return scores, ids

    def _compared(self, queries: Floats, most: int, among: Ids) -> tuple[Floats, Ids]:
        """Exactly these, one by one: a graph leads astray where most of its vertices do not count."""
        chosen = _marked(np.packbits(np.isin(self._ids, among), bitorder="little"))
        flat = self._inner if self.tuning.kind == FLAT else faiss.downcast_index(self._inner.storage)
        scores, found = flat.search(queries, most, params=faiss.SearchParameters(sel=chosen))
        return scores, np.where(found < 0, -1, self._ids[found])


def _these(ids: Ids) -> faiss.IDSelector:
    """Selects ids (ascending, at least one): small ones by a bit each, forty times as fast as a set."""
    if ids[0] < 0 or ids[-1] >= _DENSE:
        return faiss.IDSelectorBatch(ids)
    bits = np.zeros(int(ids[-1]) // 8 + 1, np.uint8)
    np.bitwise_or.at(bits, ids >> 3, (1 << (ids & 7)).astype(np.uint8))
    return _marked(bits)


def _marked(bits: npt.NDArray[np.uint8]) -> faiss.IDSelector:
    """Selects the numbers whose bit is set."""
    chosen = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
    chosen.bits = bits  # or they are gone while FAISS still points to them
    return chosen


def _read(path: Path, flags: int) -> faiss.Index:
    try:
        with hushed():
            return faiss.read_index(str(path), flags)
    except RuntimeError as exc:
        raise IndexDamaged(f"{path}: FAISS cannot read it: missing, cut short, or another file") from exc


def _write(index: faiss.Index, path: Path) -> None:
    with _writing(path):
        faiss.write_index(index, str(path))


@contextmanager
def hushed() -> Iterator[None]:
    """Lists on a disk are talked about on standard output, which belongs to results."""
    with _talking, open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- no file
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            ctypes.CDLL(None).fflush(None)
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """FAISS tells of the system's errors in its own words only. Raises `OSError`."""
    try:
        yield
    except RuntimeError as exc:
        full = os.strerror(errno.ENOSPC) in str(exc) or shutil.disk_usage(path.parent).free < _LITTLE
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from exc


def _memory_index(chosen: str, dimension: int) -> faiss.Index:
    if chosen == FLAT:
        return faiss.IndexFlatIP(dimension)
    index = faiss.IndexHNSWFlat(dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _CONSTRUCTION
    return index


def _build_in_memory(
    chosen: str, parts: Callable[[], Iterable[Part]], dimension: int, path: Path, told: Callable[[int], None]
) -> None:
    index = faiss.IndexIDMap2(_memory_index(chosen, dimension))
    done = 0
    for ids, vectors in parts():
        index.add_with_ids(vectors, ids)
        done += len(ids)
        told(done)
    _write(index, path)


def _build_lists(
    parts: Callable[[], Iterable[Part]], count: int, dimension: int, path: Path, told: Callable[[int], None]
) -> None:
    """Inverted lists are made in shards that fit into memory, and brought together on the disk."""
    room = _BYTES // (4 * dimension)
    lists = min(round(4 * math.sqrt(count)), room // _PER_LIST)
    empty = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    empty.cp.niter, empty.cp.min_points_per_centroid = _ROUNDS, 1
    empty.train(_sample(parts, count, room, dimension))
    trained = path.with_name("trained")
    _write(empty, trained)
    shards = []
    for number, shard in enumerate(
        _shards(parts, trained, room // 2, told)
    ):  # its memory doubles as it grows
        shards.append(path.with_name(f"shard{number}"))
        _write(shard, shards[-1])
    with _writing(path), hushed():
        merge_ondisk(empty, [str(shard) for shard in shards], str(path.with_suffix(".ivfdata")))
    _write(empty, path)
    for scrap in (trained, *shards):
        scrap.unlink()


def _shards(
    parts: Callable[[], Iterable[Part]], trained: Path, room: int, told: Callable[[int], None]
) -> Iterator[faiss.Index]:
    """Indexes of up to `room` vectors each (and the rest of a part)."""
    done, shard = 0, faiss.read_index(str(trained))
    for ids, vectors in parts():
        shard.add_with_ids(vectors, ids)
        done += len(ids)
        told(done)
        if shard.ntotal >= room:
            yield shard
            shard = faiss.read_index(str(trained))
    if shard.ntotal:
        yield shard


def _sample(parts: Callable[[], Iterable[Part]], count: int, most: int, dimension: int) -> Floats:
    """Up to `most` vectors from all over."""
    step, taken = max(1, math.ceil(count / most)), 0
    found = np.empty((most, dimension), np.float32)
    for _, vectors in parts():
        some = vectors[::step][: most - taken]
        found[taken : taken + len(some)] = some
        taken += len(some)
    return found[:taken]


def _tuned(ann: Ann, parts: Callable[[], Iterable[Part]], count: int) -> Tuning:
    """With the least effort that finds what comparing with all finds, asked for the nearest to some."""
    if ann.tuning.kind == FLAT:
        return ann.tuning
    asked = _sample(parts, count, _ASKED, ann.dimension)
    truth = _exact(asked, parts)
    for effort in _EFFORTS[ann.tuning.kind]:
        recall = _recall(truth, ann.search(asked, _NEAREST, effort=effort)[1])
        if recall >= _RECALL:
            break
    return Tuning(kind=ann.tuning.kind, effort=effort, recall=round(recall, 3))


def _exact(asked: Floats, parts: Callable[[], Iterable[Part]]) -> Ids:
    """The nearest ids (asked × 11), by comparing with all."""
    best = faiss.ResultHeap(len(asked), _NEAREST, keep_max=True)
    for ids, vectors in parts():
        scores, places = faiss.knn(asked, vectors, min(_NEAREST, len(ids)), faiss.METRIC_INNER_PRODUCT)
        best.add_result(scores, ids[places])
    best.finalize()
    found: Ids = best.I
    return found


def _recall(truth: Sequence[Ids] | Ids, found: Ids) -> float:
    """The share of the true ones that were found."""
    both = zip(truth, found, strict=True)
    return float(np.mean([len(np.intersect1d(*pair)) / _NEAREST for pair in both]))
