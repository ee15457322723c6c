"""Merging: an index's segments become one sorted file and one FAISS index, in bounded memory.

What is made is complete before anything is replaced: `next/` becomes `ready/` in one step, and whoever finds
`ready/` moves it into place, the merge itself or, should it have died, the next one to look.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from windmill.index.files import ann, meta, rows, segments
from windmill.index.files.layout import Layout, bordered, flush
from windmill.index.files.meta import Meta
from windmill.index.files.rows import GROUP
from windmill.progress import Meter

_FAN_IN = 64  # files that are read at once
_PART = 8192  # vectors that FAISS is given at once
_ENDINGS = ("parquet", "faiss", "ivfdata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """`count` images are in the merged index now; `segments` were merged into it (0: nothing was to do)."""

    count: int
    segments: int
    generation: int


def merge(prefix: Path, meter: Meter, *, anew: bool = False) -> Merged:
    """Merges all segments that there are; `anew`: also if there are none. Killed at any moment, it leaves the
    index as it was, or merged.

    Raises `StoreUnavailable` while somebody else merges it, or where its disk is full.
    """
    layout = Layout(prefix.absolute())
    meta.read(layout)  # or there is nothing to lock
    with layout.lock(wait=False), bordered(layout.prefix):
        _settle(layout)
        old = meta.read(layout)
        _sweep(layout, old)
        numbers = fresh(layout, old)
        if not numbers and not (anew and old.generation):
            return Merged(count=old.count, segments=0, generation=old.generation)
        try:
            new = _make(layout, old, numbers, meter)
            layout.coming.prefix.parent.rename(layout.ready.prefix.parent)
        finally:
            shutil.rmtree(layout.coming.prefix.parent, ignore_errors=True)  # room, where the disk is full
        flush(layout.prefix)
        _settle(layout)
    return Merged(count=new.count, segments=len(numbers), generation=new.generation)


def fresh(layout: Layout, at: Meta) -> list[int]:
    """The segments that are not in the merged files, oldest first."""
    merged = frozenset(at.absorbed)
    return [number for number in layout.numbers() if number not in merged]


def sources(layout: Layout, at: Meta) -> list[Path]:
    """All files of rows, oldest first."""
    merged = [layout.parquet] if at.generation else []
    return [*merged, *map(layout.segment, fresh(layout, at))]


def settle(layout: Layout) -> None:
    """Has nothing half replaced when it returns: waits for who is replacing files just now, and ends what
    somebody died of."""
    if layout.ready.prefix.parent.exists():
        with layout.lock(), bordered(layout.prefix):
            _settle(layout)


def _settle(layout: Layout) -> None:
    """Moves what is ready into its place; may be done twice, and after half of it was done."""
    ready = layout.ready
    if not ready.prefix.parent.exists():
        return
    at = meta.read(ready if ready.meta.exists() else layout)
    for ending in _ENDINGS:
        if ready.named(ending).exists():
            ready.named(ending).replace(layout.named(ending))
        elif ending not in at.files:
            layout.named(ending).unlink(missing_ok=True)
    if ready.meta.exists():
        flush(layout.prefix.parent)
        ready.meta.replace(layout.meta)
        flush(layout.prefix.parent)
    segments.forget(layout, at.absorbed)
    ready.prefix.parent.rmdir()


def _sweep(layout: Layout, at: Meta) -> None:
    """Deletes what those left who died."""
    shutil.rmtree(layout.coming.prefix.parent, ignore_errors=True)
    segments.forget(layout, at.absorbed)
    segments.sweep(layout, at.last)


def _make(layout: Layout, old: Meta, numbers: Sequence[int], meter: Meter) -> Meta:
    """Everything that the merged index consists of, in `next/`."""
    coming, dimension = layout.coming, old.embedder.dimension
    coming.prefix.parent.mkdir()
    paths = sources(layout, old)
    expected = sum(rows.length(path, dimension) for path in paths)
    runs = _few(paths, dimension, coming.prefix.parent)
    count = 0
    with rows.writer(coming.parquet, dimension) as writer:
        for table in _grouped(rows.merged(runs, dimension)):
            writer.write_table(table, row_group_size=GROUP)
            count += table.num_rows
            meter.update(count, 2 * expected)
    for run in set(runs) - set(paths):
        run.unlink()
    tuning = ann.build(
        lambda: vectors(coming.parquet, dimension),
        count,
        dimension,
        coming.faiss,
        lambda done: meter.update(count + done, 2 * count),
    )
    made = [ending for ending in _ENDINGS if coming.named(ending).exists()]
    new = replace(
        old,
        generation=old.generation + 1,
        count=count,
        last=max([old.last, *numbers]),
        absorbed=tuple(numbers),
        tuning=tuning,
        files={ending: meta.fingerprint(coming.named(ending)) for ending in made},
    )
    meta.write(coming, new)
    for ending in made:
        flush(coming.named(ending))
    return new


def _few(sources: Sequence[Path], dimension: int, folder: Path) -> Sequence[Path]:
    """As few files as can be read at once, with the same rows, oldest first."""
    level = 0
    while len(sources) > _FAN_IN:
        runs = []
        for start in range(0, len(sources), _FAN_IN):
            runs.append(folder / f"run{level}-{start}")
            with rows.writer(runs[-1], dimension) as writer:
                for table in rows.merged(sources[start : start + _FAN_IN], dimension, dead=True):
                    writer.write_table(table, row_group_size=rows.STREAMED)
        if level:
            for run in sources:
                run.unlink()
        sources, level = runs, level + 1
    return sources


def _grouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `GROUP` rows, but for the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= GROUP:
            whole = pa.concat_tables(waiting)
            full = whole.num_rows // GROUP * GROUP
            yield whole.slice(0, full)
            waiting = [whole.slice(full)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and rest.num_rows:
        yield rest


def vectors(path: Path, dimension: int) -> Iterator[ann.Part]:
    """Ids and vectors of a merged file."""
    with rows.opened(path, dimension) as file:
        for batch in rows.parts(path, file, _PART):
            yield batch.column("image_id").to_numpy(), rows.matrix(batch.column("embedding"))
