"""What an index holds at one moment: what was merged, and the segments since."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windmill.errors import IndexDamaged, OtherEmbedder
from windmill.index.files import rows
from windmill.index.files.ann import Ann
from windmill.index.files.layout import Layout
from windmill.index.files.meta import Meta
from windmill.index.files.rows import GROUP
from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors, best, ranked

_NOBODY = np.empty(0, np.int64)
_MUCH = 0.2  # share of replaced images from which on the others are named


class Base:
    """The merged files. Its ids and paths are in memory: 70 bytes an image. Raises `IndexDamaged`, and
    `FileNotFoundError` where another merge took them away just now."""

    def __init__(self, layout: Layout, meta: Meta) -> None:
        _check_sizes(layout, meta)
        self._reading = threading.Lock()  # a parquet reader is for one thread at a time
        self.file = rows.opened(layout.parquet, meta.embedder.dimension)
        with rows.readable(layout.parquet):
            table = self.file.read(["image_id", "path"])
        self.ids: Ids = table.column("image_id").to_numpy()
        self._paths: pa.ChunkedArray = table.column("path").combine_chunks()
        self.ann = Ann(layout.faiss, meta.tuning)

    def path(self, image_id: int) -> str:
        return str(self._paths[int(np.searchsorted(self.ids, image_id))].as_py())

    def fetch(self, ids: Ids) -> Sequence[pa.Table]:
        """The rows of ids that are there."""
        places = np.searchsorted(self.ids, ids)
        tables = []
        for group in np.unique(places // GROUP).tolist():
            inside = places[places // GROUP == group] - group * GROUP
            with self._reading:
                table = self.file.read_row_group(group, ["image_id", "path", "embedding"])
            tables.append(table.take(inside))
        return tables


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fresh:
    """A segment: `live` are the rows that no newer segment replaces and that are no tombstones; the others
    have zeros."""

    number: int
    ids: Ids
    paths: pa.Array
    embeddings: Floats
    live: npt.NDArray[np.bool_]

    @classmethod
    def read(cls, layout: Layout, number: int, embedder: Embedder) -> Fresh:
        """Raises `IndexDamaged`, `OtherEmbedder`, `FileNotFoundError`."""
        path = layout.segment(number)
        with rows.opened(path, embedder.dimension) as file, rows.readable(path):
            table = file.read()
        models = pc.unique(table.column("model")).to_pylist()
        if models != [str(embedder)]:
            raise OtherEmbedder(f"{path}: vectors of {', '.join(models)} in an index of {embedder}")
        live = table.column("embedding").is_valid().to_numpy(zero_copy_only=False)
        embeddings = np.zeros((len(live), embedder.dimension), np.float32)
        embeddings[live] = rows.matrix(table.column("embedding").filter(pa.array(live)))
        return cls(
            number=number,
            ids=table.column("image_id").to_numpy(),
            paths=table.column("path").combine_chunks(),
            embeddings=embeddings,
            live=live,
        )


@dataclass(frozen=True)
class View:
    """`fresh` are the segments that are not merged, oldest first."""

    meta: Meta
    base: Base | None
    fresh: tuple[Fresh, ...]

    def with_segment(self, added: Fresh) -> View:
        """The same, and what it replaces is dead."""
        older = tuple(replace(one, live=one.live & ~np.isin(one.ids, added.ids)) for one in self.fresh)
        return View(self.meta, self.base, (*older, added))

    @cached_property
    def replaced(self) -> Ids:
        """The ids of which a segment says something newer than what was merged, ascending."""
        return np.unique(np.concatenate([one.ids for one in self.fresh])) if self.fresh else _NOBODY

    def count(self) -> int:
        merged = (
            0 if self.base is None else len(self.base.ids) - int(np.isin(self.replaced, self.base.ids).sum())
        )
        return merged + sum(int(one.live.sum()) for one in self.fresh)

    def search(self, query: Floats, most: int, among: Ids | None) -> list[Hit]:
        """See `store.VectorStore`."""
        hits = [*self._merged_hits(query, most, among), *self._fresh_hits(query, most, among)]
        ids = np.array([hit.image_id for hit in hits], np.int64)
        return best(ids, [hit.path for hit in hits], np.array([hit.score for hit in hits], np.float32), most)

    def fetch(self, ids: Ids) -> Vectors:
        """See `store.VectorStore`."""
        wanted = np.unique(ids)
        tables = []
        if self.base is not None:
            kept = np.setdiff1d(np.intersect1d(wanted, self.base.ids), self.replaced)
            tables += [rows.vectors(table) for table in self.base.fetch(kept)]
        for one in self.fresh:
            chosen = one.live & np.isin(one.ids, wanted)
            paths = one.paths.filter(pa.array(chosen)).to_pylist()
            tables.append(Vectors(ids=one.ids[chosen], paths=paths, embeddings=one.embeddings[chosen]))
        return _together(tables, self.meta.embedder.dimension)

    def _merged_hits(self, query: Floats, most: int, among: Ids | None) -> list[Hit]:
        if self.base is None or not len(self.base.ids):
            return []
        if among is not None:
            among = np.setdiff1d(among, self.replaced) if len(self.replaced) else among
        elif len(self.replaced) > _MUCH * len(self.base.ids):
            among = np.setdiff1d(self.base.ids, self.replaced)
        if among is not None and not len(among):
            return []
        scores, ids = self.base.ann.search(query[None], most, among=among, but=self.replaced)
        if ids[0, -1] < 0:  # there are no more, or near the query lies much that is left out
            among = np.setdiff1d(self.base.ids, self.replaced) if among is None else among
            scores, ids = self.base.ann.search(query[None], most, among=among, exact=True)
        both = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        return [Hit(image_id=n, path=self.base.path(n), score=score) for n, score in both if n >= 0]

    def _fresh_hits(self, query: Floats, most: int, among: Ids | None) -> list[Hit]:
        hits = []
        for one in self.fresh:
            chosen = one.live if among is None else one.live & np.isin(one.ids, among)
            scores = np.where(chosen, one.embeddings @ query, -np.inf)
            hits += [
                Hit(image_id=int(one.ids[n]), path=one.paths[n].as_py(), score=float(scores[n]))
                for n in ranked(one.ids, scores, most).tolist()
                if chosen[n]
            ]
        return hits


def _together(parts: Sequence[Vectors], dimension: int) -> Vectors:
    """All of them by ascending id; none has what another has."""
    ids = np.concatenate([_NOBODY, *(part.ids for part in parts)])
    order = np.argsort(ids)
    paths = [path for part in parts for path in part.paths]
    embeddings = np.concatenate([np.empty((0, dimension), np.float32), *(part.embeddings for part in parts)])
    return Vectors(ids=ids[order], paths=[paths[n] for n in order.tolist()], embeddings=embeddings[order])


def _check_sizes(layout: Layout, meta: Meta) -> None:
    """Raises `IndexDamaged` for a file that is cut short: FAISS would read what is not there."""
    for ending, (size, _) in meta.files.items():
        path = layout.named(ending)
        if path.stat().st_size != size:
            raise IndexDamaged(
                f"{path}: {path.stat().st_size:,} bytes, and {size:,} were written;"
                " windmill index verify says what is wrong and what helps"
            )
