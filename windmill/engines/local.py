"""Embeds a folder on this box: files are read and decoded ahead, and the model is never kept waiting."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from windmill.engines.building import Built, Plan
from windmill.engines.keeping import Keeper, Known, settle
from windmill.engines.notes import Note, Notes, Stamp
from windmill.errors import ImageError, ServiceRejected
from windmill.index.store import VectorStore
from windmill.index.vectors import Floats, Ids, Vectors
from windmill.ingesting import Candidate, ahead, candidates
from windmill.model import content_number
from windmill.progress import Meter
from windmill.services.base import RequestError

_READERS = 4  # threads that read files, have them decoded, and prepare them
_BATCHES_AHEAD = 4
_LOOKERS, _LOOKS = 4, 200  # threads that look at file times, and files that one of them looks at in turn
_COPIES = 1000  # of images of a batch, before it is embedded
_NAMED = 1000  # bad files that are kept by name

Outcome = Floats | RequestError | ServiceRejected


class Model(Protocol):
    """What `in_process.InProcess` is."""

    def prepared(self, name: str, data: bytes) -> Any: ...

    def each(self, inputs: Sequence[Any]) -> list[Outcome]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A `building.Engine`. `read` gives a file's bytes; `notes` is where notes on files lie (None: nowhere).

    `segment` images, or what there is after so many `seconds`, are written at once.
    """

    model: Model
    read: Callable[[Candidate], bytes]
    notes: Path | None = None
    segment: int = 1000
    seconds: float = 30.0

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built:
        with closing(Notes(self.notes, store.embedder)) as notes:
            known = Known(_learned(part, notes) for part in store.scan())
            with Keeper(store, notes, segment=self.segment, seconds=self.seconds) as keeper:
                run = _Run(self, plan, notes, known, keeper, meter)
                run()
            settle(store, notes, plan.source)
        return run.tally.built()


@dataclass(slots=True)
class _Tally:
    added: int = 0
    known: int = 0
    without: int = 0
    ignored: int = 0
    bad_count: int = 0
    bad: list[str] = field(default_factory=list)

    @property
    def seen(self) -> int:
        return self.added + self.known + self.without + self.ignored + self.bad_count

    def refuse(self, line: str) -> None:
        self.bad_count += 1
        if len(self.bad) < _NAMED:
            self.bad.append(line)

    def built(self) -> Built:
        return Built(
            added=self.added,
            known=self.known,
            bad=tuple(self.bad),
            unnamed=self.bad_count - len(self.bad),
            without=self.without,
            ignored=self.ignored,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file that is to be read, as it was just before that (None: nobody could look), and its note."""

    candidate: Candidate
    stamp: Stamp | None
    note: Note | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What a file is: its content's number, and what the model looks at, or why it cannot look at that.

    `number` is None for a file that is rightly no photo, `given` for an image that the index has.
    """

    file: _File
    number: int | None
    given: Any = None

    def note(self, number: int, *, embedded: bool) -> Note:
        return Note(path=self.file.candidate.name, stamp=self.file.stamp, number=number, embedded=embedded)

    def left(self, number: int) -> list[int]:
        """What the file was before, if that was something else."""
        before = self.file.note
        return [before.number] if before and before.embedded and before.number != number else []

    def found_again(self, number: int) -> list[int]:
        """This image, if it was not known to lie here: where the index says it lay, it may be gone."""
        before = self.file.note
        return [number] if before is None or before.number != number else []


class _Run:
    """One pass over a collection: what becomes of each file, in the order of their names."""

    def __init__(
        self, engine: Local, plan: Plan, notes: Notes, known: Known, keeper: Keeper, meter: Meter
    ) -> None:
        self._engine, self._plan = engine, plan
        self._notes, self._known, self._keeper, self._meter = notes, known, keeper, meter
        self._batch: dict[int, Any] = {}
        self._waiting: list[tuple[int, _Read]] = []  # files of these images, copies among them
        self.tally = _Tally()

    def __call__(self) -> None:
        found = candidates(self._plan.source, "", io.StringIO())
        readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read")
        lookers = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="look")
        most = max(2 * _READERS, _BATCHES_AHEAD * self._plan.batch)
        try:
            files = self._unknown(lookers, found)
            for future in ahead(readers, self._read, files, most):
                try:
                    self._take(future.result())
                except ImageError as error:
                    self.tally.refuse(str(error))
                self._meter.update(self.tally.seen)
            self._embed()
        finally:
            for pool in (readers, lookers):
                pool.shutdown(cancel_futures=True)
        self._meter.update(self.tally.seen)

    def _unknown(self, lookers: ThreadPoolExecutor, found: Iterator[Candidate]) -> Iterator[_File]:
        """The files that are not known by name and time."""
        parts = iter(lambda: list(itertools.islice(found, _LOOKS)), [])
        for future in ahead(lookers, _stamped, parts, 2 * _LOOKERS):
            stamped = future.result()
            notes = self._notes.on([one.name for one, stamp in stamped if stamp is not None])
            for one, stamp in stamped:
                note = notes.get(one.name)
                if note is None or note.stamp != stamp or (note.embedded and note.number not in self._known):
                    yield _File(candidate=one, stamp=stamp, note=note)
                elif note.embedded:
                    self.tally.known += 1
                else:
                    self.tally.without += 1
            self._meter.update(self.tally.seen)

    def _read(self, file: _File) -> _Read:
        """Called by several threads. Raises `ImageError`."""
        one = file.candidate
        try:
            one.check()
            data = self._engine.read(one)
            number = content_number(hashlib.sha256(data).digest())
            if number in self._known:
                return _Read(file=file, number=number)
            return _Read(file=file, number=number, given=self._prepared(one.name, data))
        except ImageError:
            if one.need_not_be:
                return _Read(file=file, number=None)
            raise

    def _prepared(self, name: str, data: bytes) -> Any:
        try:
            return self._engine.model.prepared(name, data)
        except RequestError as error:
            return error

    def _take(self, one: _Read) -> None:
        if one.number is None:
            self.tally.ignored += 1
        elif one.number in self._known or isinstance(one.given, RequestError):
            self._keep(one, one.number, one.given)
        else:
            self._batch.setdefault(one.number, one.given)
            self._waiting.append((one.number, _Read(file=one.file, number=one.number)))
            if len(self._batch) >= self._plan.batch or len(self._waiting) >= _COPIES:
                self._embed()

    def _embed(self) -> None:
        if not self._batch:
            return
        outcomes = dict(zip(self._batch, self._engine.model.each(list(self._batch.values())), strict=True))
        waiting, self._waiting, self._batch = self._waiting, [], {}
        for number, one in waiting:
            self._keep(one, number, outcomes[number])

    def _keep(self, one: _Read, number: int, outcome: Outcome | None) -> None:
        left = one.left(number)
        if number in self._known:
            self.tally.known += 1
            self._keeper.note(one.note(number, embedded=True), left + one.found_again(number))
        elif isinstance(outcome, RequestError):
            self.tally.without += 1
            self._keeper.note(one.note(number, embedded=False), left)
        elif isinstance(outcome, ServiceRejected):
            self.tally.refuse(f"{one.file.candidate.name}: {outcome}")
        elif outcome is not None:
            self.tally.added += 1
            self._known.add(number)
            self._keeper.add(one.note(number, embedded=True), outcome, left)


def _learned(part: Vectors, notes: Notes) -> Ids:
    notes.learn(part)
    return part.ids


def _stamped(found: Iterable[Candidate]) -> list[tuple[Candidate, Stamp | None]]:
    """Each with its time; None where there is nothing to look at: whoever reads it says why."""
    return [(one, _stamp(one)) for one in found]


def _stamp(one: Candidate) -> Stamp | None:
    try:
        one.check()
        return Stamp.of(one.name)
    except (ImageError, OSError, ValueError):
        return None
