"""FAISS files as a vector store: many processes add segments, and what is merged is replaced as a whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from windmill.errors import IndexDamaged, OtherEmbedder, StoreUnavailable
from windmill.index.about import About
from windmill.index.files import merging, meta, rows, segments
from windmill.index.files.layout import Layout, bordered
from windmill.index.files.meta import Meta
from windmill.index.files.view import Base, Fresh, View
from windmill.index.vectors import Embedder, Floats, Hit, Ids, Vectors, accepted, checked
from windmill.model import Numbering

_FRESH = 1.0  # seconds; a kernel's clock for files ticks every 4 ms
_LOOKS = 20  # at an index that is replaced while it is looked at
_SEGMENT = 10_000  # images in one segment at most
_MANY, _SHARE = 64, 0.5  # a merge is due with so many segments that are such a share of the whole
_MOST = 500  # segments, with which one is due in any case: to open them takes seconds


def create(prefix: Path, embedder: Embedder, numbering: Numbering) -> FaissFiles:
    """The index at `prefix`, begun if there is none. Raises `OtherEmbedder` where it is another model's."""
    layout = Layout(prefix.absolute())
    if not layout.meta.exists() or _never_used(layout):
        with layout.lock():  # for a merge nobody has to wait
            _begin(layout, Meta(embedder=embedder, numbering=numbering))
    found = meta.read(layout)
    About(embedder, numbering).check(About(found.embedder, found.numbering), str(prefix))
    return FaissFiles(layout)


def _begin(layout: Layout, new: Meta) -> None:
    """Makes it this model's, unless somebody was faster. Raises `IndexDamaged` if its meta.json is gone."""
    if not layout.meta.exists() and (layout.parquet.exists() or layout.numbers()):
        raise IndexDamaged(
            f"{layout.meta} is missing, and other files of an index are there: put it back from a copy,"
            " or move them away to begin anew"
        )
    if not layout.meta.exists() or _never_used(layout):
        meta.write(layout, new)


def _never_used(layout: Layout) -> bool:
    """Whether somebody began an index and put nothing in."""
    return meta.read(layout).generation == 0 and not layout.numbers() and not layout.numbers("faiss")


def open_index(prefix: Path) -> FaissFiles:
    """The index at `prefix`. Raises `ConfigError` where there is none."""
    return FaissFiles(Layout(prefix.absolute()))


class FaissFiles:
    """A `store.VectorStore` of files at a prefix. Thread-safe; sees what other processes add at once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._view: View | None = None
        self._seen_at: tuple[float, ...] = ()
        first = meta.read(layout)
        self.embedder, self.numbering = first.embedder, first.numbering

    def upsert(self, vectors: Vectors) -> None:
        """See `store.VectorStore`; a segment is written for each 10,000 images."""
        accepted(vectors, self.embedder)
        for start in range(0, len(vectors), _SEGMENT):
            part = slice(start, start + _SEGMENT)
            some = Vectors(
                ids=vectors.ids[part], paths=vectors.paths[part], embeddings=vectors.embeddings[part]
            )
            segments.write(self._layout, rows.of_vectors(some, self.embedder, datetime.now(UTC)))

    def delete(self, ids: Ids) -> None:
        """See `store.VectorStore`: tombstones, until a merge leaves the images out."""
        there = self.fetch(ids).ids
        if len(there):
            segments.write(self._layout, rows.tombstones(there, self.embedder, datetime.now(UTC)))

    def search(self, query: Floats, most: int, among: Ids | None = None) -> list[Hit]:
        (asked,) = checked(np.ascontiguousarray(query[None], np.float32), self.embedder)
        return self.view().search(asked, most, among)

    def fetch(self, ids: Ids) -> Vectors:
        return self.view().fetch(ids)

    def count(self) -> int:
        return self.view().count()

    def scan(self) -> Iterator[Vectors]:
        """See `store.VectorStore`; of the moment when it begins, unless a merge takes the files away: then it
        raises `StoreUnavailable`."""
        layout = self._layout
        try:
            for table in rows.merged(merging.sources(layout, meta.read(layout)), self.embedder.dimension):
                yield rows.vectors(table)
        except FileNotFoundError as exc:
            raise StoreUnavailable(f"{layout.prefix}: it was merged meanwhile: begin again") from exc

    def settle(self) -> None:
        """See `store.VectorStore`: a merge, which goes on beside searches, is what makes them fast."""

    def close(self) -> None:
        """Lets go of the files."""
        self._view = None

    def due(self) -> bool:
        """Whether so much has come since the last merge that searching becomes slow; by the files' sizes."""
        layout, at = self._layout, meta.read(self._layout)
        numbers = merging.fresh(layout, at)
        if not _MANY <= len(numbers) < _MOST:
            return len(numbers) >= _MOST
        try:
            fresh = sum(layout.segment(number).stat().st_size for number in numbers)
        except FileNotFoundError:  # somebody has merged them by now
            return False
        merged, _ = at.files.get("parquet", (0, ""))
        return fresh >= _SHARE * (fresh + merged)

    def view(self) -> View:
        """What there is now. Raises `IndexDamaged`, `OtherEmbedder`, `StoreUnavailable`."""
        with self._lock:
            if self._view is not None and self._seen_at == self._state():
                return self._view
            for _ in range(_LOOKS):
                merging.settle(self._layout)
                state = self._state()
                at = meta.read(self._layout)
                try:
                    view = self._seen(self._view, at)
                except (FileNotFoundError, IndexDamaged) as exc:
                    if self._stands(at):  # else its files were those of two merges
                        raise IndexDamaged(str(exc)) from exc
                else:
                    if self._stands(at):
                        self._view, self._seen_at = view, state
                        return view
        raise StoreUnavailable(f"{self._layout.prefix}: it is being merged over and over: try again")

    def _seen(self, known: View | None, at: Meta) -> View:
        numbers = merging.fresh(self._layout, at)
        if at.embedder != self.embedder or at.numbering != self.numbering:
            raise OtherEmbedder(f"{self._layout.prefix}: it was built anew, of {at.embedder}: open it again")
        if known is None or known.meta != at:
            known = View(at, Base(self._layout, at) if at.generation else None, ())
        seen = [one.number for one in known.fresh]
        if seen != numbers[: len(seen)]:  # one came late, or was set aside
            known, seen = View(at, known.base, ()), []
        for number in numbers[len(seen) :]:
            known = known.with_segment(Fresh.read(self._layout, number, at.embedder))
        return known

    def _state(self) -> tuple[float, ...]:
        """Numbers that change when files do; ever new ones while a folder's time is so fresh that it may not
        tell of the next change."""
        folder = self._layout.segments
        changed = folder.stat().st_mtime if folder.exists() else 0.0
        now = time.time()
        with bordered(self._layout.meta):
            merged = self._layout.meta.stat()
        fresh = now if max(changed, merged.st_mtime) > now - _FRESH else 0.0
        return (merged.st_ino, merged.st_mtime, changed, self._layout.ready.prefix.parent.exists(), fresh)

    def _stands(self, at: Meta) -> bool:
        """Whether nothing was merged since."""
        merging_now = self._layout.ready.prefix.parent.exists()
        return not merging_now and meta.read(self._layout) == at
