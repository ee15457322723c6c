"""Whether an index is what was written: vectors, ids and metadata, in every file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windmill.errors import IndexDamaged, OtherEmbedder, StoreUnavailable
from windmill.index.files import ann, merging, meta, rows, segments
from windmill.index.files.ann import Ann
from windmill.index.files.layout import Layout, bordered
from windmill.index.files.meta import Meta
from windmill.index.files.view import Fresh
from windmill.index.vectors import Floats, Ids
from windmill.progress import Meter

_PART = 8192  # rows that are compared at once
_SAME = 1e-5  # by which the score of an image's own vector may differ from 1 and from an equal one's


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What is wrong with a file, and what helps."""

    path: Path
    what: str
    remedy: str


_AGAIN = "delete the index's files and build it again"
_REMADE = "windmill index verify --repair makes it anew from the parquet file"
_ASIDE = (
    "windmill index verify --repair sets the segment aside: windmill index build embeds its images again, and"
    " what it deleted or replaced is as it was before"
)
_LOOKS = 5  # at an index that is merged while it is looked at


def verify(prefix: Path, meter: Meter) -> list[Drift]:
    """Everything that is wrong with an index; nothing if it is well.

    Each merged file is compared with its checksum, each vector of the parquet file with FAISS's, and each
    must find itself. Raises `ConfigError` where there is no index, `IndexDamaged` where there is half of one,
    and `StoreUnavailable` where it is merged again and again.
    """
    layout = Layout(prefix.absolute())
    for _ in range(_LOOKS):
        merging.settle(layout)
        at = meta.read(layout)
        try:
            drifts = _looked(layout, at, meter)
        except (FileNotFoundError, IndexDamaged):
            if meta.read(layout) == at:
                raise
        else:
            if not drifts or (meta.read(layout) == at and not layout.ready.prefix.parent.exists()):
                return drifts
    raise StoreUnavailable(f"{prefix}: it is merged again and again: try later")


def repair(prefix: Path, meter: Meter) -> list[Drift]:
    """Sets segments aside that cannot be read, and makes FAISS's files anew where they are wrong; gives what
    is wrong then."""
    layout = Layout(prefix.absolute())
    merging.settle(layout)
    with layout.lock(), bordered(layout.prefix):
        at = meta.read(layout)
        drifts = _looked(layout, at, meter)
        for one in drifts:
            if one.remedy == _ASIDE:
                segments.set_aside(layout, int(one.path.stem))
            elif one.remedy == _REMADE and one.path.parent == layout.segments:
                live = Fresh.read(layout, int(one.path.stem), at.embedder)
                segments.renew(layout, live.number, live.ids[live.live], live.embeddings[live.live])
    if any(one.remedy == _REMADE and one.path.parent != layout.segments for one in drifts):
        merging.merge(prefix, meter, anew=True)
    return verify(prefix, meter) if drifts else []


def _looked(layout: Layout, at: Meta, meter: Meter) -> list[Drift]:
    return [*_merged(layout, at, meter), *_segments(layout, at)]


def _merged(layout: Layout, at: Meta, meter: Meter) -> list[Drift]:
    if not at.generation:
        return []
    changed = [ending for ending in at.files if not _as_written(layout, at, ending)]
    if "parquet" in changed:
        return [Drift(path=layout.parquet, what="not the file that was written", remedy=_AGAIN)]
    if changed:
        what = "not the file that was written"
        return [Drift(path=layout.named(ending), what=what, remedy=_REMADE) for ending in changed]
    return [*_rows(layout, at), *_vectors(layout, at, meter)]


def _as_written(layout: Layout, at: Meta, ending: str) -> bool:
    path = layout.named(ending)
    return path.exists() and meta.fingerprint(path) == at.files[ending]


def _rows(layout: Layout, at: Meta) -> Iterator[Drift]:
    """Whether the parquet file's rows are as many as said, in order, and of one model."""
    path, count, last = layout.parquet, 0, -1
    with rows.opened(path, at.embedder.dimension) as file:
        for batch in rows.parts(path, file, _PART):
            ids = batch.column("image_id").to_numpy()
            if not (np.diff(ids, prepend=last) > 0).all():
                yield Drift(path=path, what="ids out of order, or twice", remedy=_AGAIN)
                return
            count, last = count + len(ids), int(ids[-1])
            if _strangers(batch, at):
                yield Drift(path=path, what=f"vectors of another model than {at.embedder}", remedy=_AGAIN)
                return
    if count != at.count:
        yield Drift(path=path, what=f"{count:,} images, and {at.count:,} were merged", remedy=_AGAIN)


def _strangers(batch: pa.RecordBatch, at: Meta) -> bool:
    models: list[str] = pc.unique(batch.column("model")).to_pylist()
    return models != [str(at.embedder)]


def _vectors(layout: Layout, at: Meta, meter: Meter) -> list[Drift]:
    """Whether FAISS has the parquet file's vectors under their ids, and finds each."""
    index = Ann(layout.faiss, at.tuning)
    if len(index) != at.count:
        what = f"{len(index):,} vectors for {at.count:,} images"
        return [Drift(path=layout.faiss, what=what, remedy=_REMADE)]
    other = lost = done = 0
    for ids, embeddings in merging.vectors(layout.parquet, at.embedder.dimension):
        other += _others(index, ids, embeddings)
        scores, found = index.search(embeddings, 1, effort=1 if at.tuning.kind == ann.IVF else 0)
        itself = (found[:, 0] == ids) | (scores[:, 0] >= (embeddings**2).sum(axis=1) - _SAME)
        lost += int((~itself).sum())
        done += len(ids)
        meter.update(done, at.count)
    told = {f"{other:,} vectors that are not the parquet file's": other}
    told[f"{lost:,} images are not found by their own vector"] = lost
    return [Drift(path=layout.faiss, what=what, remedy=_REMADE) for what, number in told.items() if number]


def _others(index: Ann, ids: Ids, embeddings: Floats) -> int:
    """How many vectors differ, or are not there."""
    try:
        return int((index.vectors(ids) != embeddings).any(axis=1).sum())
    except KeyError:
        return len(ids)


def _segments(layout: Layout, at: Meta) -> Iterator[Drift]:
    for number in merging.fresh(layout, at):
        try:
            segment = Fresh.read(layout, number, at.embedder)
        except (IndexDamaged, OtherEmbedder) as exc:
            yield Drift(path=layout.segment(number), what=str(exc), remedy=_ASIDE)
            continue
        if (np.diff(segment.ids) <= 0).any():
            yield Drift(path=layout.segment(number), what="ids out of order, or twice", remedy=_ASIDE)
        elif not _same(segment, layout.segment_faiss(number)):
            what = "not the vectors of the parquet file beside it"
            yield Drift(path=layout.segment_faiss(number), what=what, remedy=_REMADE)


def _same(segment: Fresh, faiss: Path) -> bool:
    """Whether a FAISS file holds what a segment does."""
    try:
        ids, vectors = ann.read_flat(faiss)
    except IndexDamaged:
        return False
    live = segment.live
    return np.array_equal(segment.ids[live], ids) and np.array_equal(segment.embeddings[live], vectors)
