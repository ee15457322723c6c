"""An index's rows as parquet holds them: sorted by image id, and streamed from many files as if from one.

A row without an embedding is a tombstone: its image was deleted. Of rows with one id, the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from windmill.errors import IndexDamaged
from windmill.index.vectors import Embedder, Floats, Ids, Vectors

GROUP = 2048  # rows of a row group of the merged file: what is read to get one vector
STREAMED = 512  # rows of each file that are in memory at once while many are read


def schema(dimension: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("image_id", pa.int64(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dimension)),
            pa.field("model", pa.string(), nullable=False),
            pa.field("created", pa.timestamp("us", "UTC"), nullable=False),
        ]
    )


def of_vectors(vectors: Vectors, embedder: Embedder, now: datetime) -> pa.Table:
    """Rows of images, by ascending id; of two with one id the later."""
    numbers = np.asarray(vectors.ids, np.int64)
    reverse, first = np.unique(numbers[::-1], return_index=True)
    order = len(numbers) - 1 - first
    flat = pa.array(np.ascontiguousarray(vectors.embeddings[order], np.float32).reshape(-1))
    embeddings = pa.FixedSizeListArray.from_arrays(flat, embedder.dimension)
    return _table(reverse, [vectors.paths[n] for n in order.tolist()], embeddings, embedder, now)


def tombstones(ids: Ids, embedder: Embedder, now: datetime) -> pa.Table:
    """Rows that say that these images are deleted."""
    gone = np.unique(ids)
    empty = pa.nulls(len(gone), pa.list_(pa.float32(), embedder.dimension))
    return _table(gone, [""] * len(gone), empty, embedder, now)


def _table(
    ids: Ids, paths: Sequence[str], embeddings: pa.Array, embedder: Embedder, now: datetime
) -> pa.Table:
    model = pa.array([str(embedder)] * len(ids), pa.string())
    created = pa.array([now] * len(ids), pa.timestamp("us", "UTC"))
    columns = [pa.array(ids, pa.int64()), pa.array(paths, pa.string()), embeddings, model, created]
    return pa.Table.from_arrays(columns, schema=schema(embedder.dimension))


def writer(path: Path, dimension: int) -> pq.ParquetWriter:
    """Vectors are stored as they are: they cannot be compressed."""
    columns = {"path": "zstd", "model": "zstd", "embedding.list.element": "none"}
    return pq.ParquetWriter(
        path, schema(dimension), compression=columns, use_dictionary=["model", "path"], write_statistics=True
    )


def opened(path: Path, dimension: int) -> pq.ParquetFile:
    """A file of rows. Raises `IndexDamaged`; `FileNotFoundError` where it is not there (any more)."""
    with readable(path):
        file = pq.ParquetFile(path, memory_map=True)
        if not file.schema_arrow.equals(schema(dimension)):
            file.close()
            raise IndexDamaged(f"{path}: not the columns of an index with {dimension} dimensions")
        return file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reading a file of rows raises becomes `IndexDamaged`, but for `FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as exc:
        raise IndexDamaged(
            f"{path}: cut short, or not parquet ({str(exc)[:100]});"
            " windmill index verify --repair sets it aside"
        ) from exc


def parts(path: Path, file: pq.ParquetFile, size: int = STREAMED) -> Iterator[pa.RecordBatch]:
    """A file's rows, up to `size` at a time. Raises `IndexDamaged`."""
    batches = file.iter_batches(size)
    while True:
        with readable(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def length(path: Path, dimension: int) -> int:
    """How many rows a file has. Raises as `opened` does."""
    with opened(path, dimension) as file:
        return int(file.metadata.num_rows)


def vectors(table: pa.Table | pa.RecordBatch) -> Vectors:
    """Rows with embeddings as `Vectors`."""
    return Vectors(
        ids=table.column("image_id").to_numpy(),
        paths=table.column("path").to_pylist(),
        embeddings=matrix(table.column("embedding")),
    )


def matrix(column: pa.Array | pa.ChunkedArray) -> Floats:
    """Embeddings without gaps as n × dimension."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    dimension = whole.type.list_size
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, dimension)


@dataclass(slots=True)
class _Source:
    """One file on its way: the part of it that is in memory, and what comes after that."""

    rest: Iterator[pa.RecordBatch]
    part: pa.RecordBatch

    def refill(self) -> bool:
        """Has a part with rows, unless the file has ended."""
        while self.part.num_rows == 0:
            following = next(self.rest, None)
            if following is None:
                return False
            self.part = following
        return True

    @property
    def last(self) -> int:
        return int(self.part.column("image_id")[-1].as_py())

    def up_to(self, limit: int) -> pa.RecordBatch:
        """Takes the rows with ids up to `limit` off the part."""
        ids = self.part.column("image_id").to_numpy()
        count = int(np.searchsorted(ids, limit, side="right"))
        taken, self.part = self.part.slice(0, count), self.part.slice(count)
        return taken


def merged(paths: Sequence[Path], dimension: int, *, dead: bool = False) -> Iterator[pa.Table]:
    """The newest row of each id in files that are given oldest first, by ascending id, a part at a time;
    tombstones only if `dead` is set.

    Memory: `STREAMED` rows of each file. Raises as `opened` does.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(opened(path, dimension)) for path in paths]
        empty = pa.RecordBatch.from_pylist([], schema(dimension))
        sources = [_Source(parts(*both), empty) for both in zip(paths, files, strict=True)]
        while sources := [source for source in sources if source.refill()]:
            limit = min(source.last for source in sources)
            table = _newest(pa.Table.from_batches([source.up_to(limit) for source in sources]))
            live = table if dead else table.filter(pc.is_valid(table.column("embedding")))
            if live.num_rows:
                yield live


def _newest(table: pa.Table) -> pa.Table:
    """Of rows with one id the last one, by ascending id."""
    ids = table.column("image_id").to_numpy()
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    last: npt.NDArray[np.bool_] = np.append(ordered[1:] != ordered[:-1], [True])[: len(ordered)]
    kept = order[last]
    return table if len(kept) == len(ids) and (kept[1:] > kept[:-1]).all() else table.take(kept)
