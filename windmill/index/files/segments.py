"""Segments: immutable files of rows, each written by one process at once, and numbered by age."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from windmill.errors import OtherEmbedder
from windmill.index.files import ann, meta, rows
from windmill.index.files.layout import Layout, bordered, flush
from windmill.index.vectors import Floats, Ids

_DAY = 86_400.0  # seconds


def write(layout: Layout, table: pa.Table) -> int:
    """Adds a segment; gives its number. It is there as a whole or not at all.

    Raises `StoreUnavailable` where the disk is full, else `StoreError`; then nothing has changed.
    """
    with bordered(layout.segments):
        layout.segments.mkdir(parents=True, exist_ok=True)
        name = f".{uuid.uuid4().hex}"
        parquet, faiss = (layout.segments / f"{name}.{kind}" for kind in ("parquet", "faiss"))
        try:
            _write_files(table, parquet, faiss)
            number = _claim(layout, table.column("model")[0].as_py())
            faiss.replace(layout.segment_faiss(number))
            parquet.replace(layout.segment(number))  # from here on it counts
            flush(layout.segments)
        finally:
            for scrap in (parquet, faiss):
                scrap.unlink(missing_ok=True)
    return number


def _write_files(table: pa.Table, parquet: Path, faiss: Path) -> None:
    dimension = table.schema.field("embedding").type.list_size
    with rows.writer(parquet, dimension) as writer:
        writer.write_table(table, row_group_size=rows.STREAMED)
    live = rows.vectors(table.filter(pc.is_valid(table.column("embedding"))))
    ann.write_flat(live.ids, live.embeddings.reshape(-1, dimension), faiss)
    for path in (parquet, faiss):
        flush(path)


def _claim(layout: Layout, model: str) -> int:
    """A number that no segment has or had: higher than all. Its FAISS file is there, empty, and ours.

    Raises `OtherEmbedder` where the index is another model's: until its first segment it may become that.
    """
    first = not meta.read(layout).generation and not layout.numbers()
    with layout.lock() if first else nullcontext():
        at = meta.read(layout)
        if str(at.embedder) != model:
            raise OtherEmbedder(f"{layout.prefix}: an index of {at.embedder} by now, not of {model}")
        while True:
            number = max([*_taken(layout), meta.read(layout).last], default=0) + 1
            try:
                os.close(os.open(layout.segment_faiss(number), os.O_CREAT | os.O_EXCL, 0o644))
            except FileExistsError:
                continue  # somebody was faster
            if meta.read(layout).last < number:
                return number
            layout.segment_faiss(number).unlink()  # others with higher numbers were merged meanwhile


def _taken(layout: Layout) -> list[int]:
    """Numbers that are in use, or were until somebody set their segments aside."""
    return [*layout.numbers("faiss"), *layout.numbers(), *layout.set_aside()]


def forget(layout: Layout, numbers: Sequence[int]) -> None:
    """Deletes segments that were merged."""
    with bordered(layout.segments):
        for number in numbers:
            layout.segment(number).unlink(missing_ok=True)
            layout.segment_faiss(number).unlink(missing_ok=True)


def set_aside(layout: Layout, number: int) -> None:
    """Takes a segment that cannot be read out of the index; its number is not used again."""
    layout.damaged.mkdir(exist_ok=True)
    for path in (layout.segment(number), layout.segment_faiss(number)):
        if path.exists():
            path.replace(layout.damaged / path.name)


def renew(layout: Layout, number: int, ids: Ids, vectors: Floats) -> None:
    """Writes the FAISS file of a segment anew."""
    faiss = layout.segments / f".{uuid.uuid4().hex}.faiss"
    ann.write_flat(ids, vectors, faiss)
    flush(faiss)
    faiss.replace(layout.segment_faiss(number))


def sweep(layout: Layout, last: int) -> None:
    """Deletes what writers left who died in the middle: what is a day old and does not count."""
    claims = set(layout.numbers("faiss")) - set(layout.numbers())
    left = [layout.segment_faiss(number) for number in claims if number <= last]
    metas = layout.meta.parent.glob(f".{layout.meta.name}.*")
    for path in [*left, *layout.segments.glob(".*"), *metas]:
        with suppress(FileNotFoundError):  # its writer was alive, and is done
            if path.stat().st_mtime < time.time() - _DAY:
                path.unlink()
