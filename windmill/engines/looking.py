"""What a box of a cluster does: files go in, parts of an index come out. The same for Ray and for Spark."""

from __future__ import annotations

import functools
import hashlib
import itertools
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from windmill.engines.in_process import InProcess
from windmill.errors import ConfigError, ImageError, ServiceRejected
from windmill.index.store import VectorStore
from windmill.index.vectors import Embedder, Floats, Ids, Vectors
from windmill.ingesting import Candidate, ahead
from windmill.model import content_number
from windmill.services.base import RequestError

Hashes = npt.NDArray[np.uint64]

_HANDS = 2  # threads that decode while the model looks; a box has a model for every core or two


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be done with files: `service` looks at `batch` at once, and has to be `embedder`.

    `folder` has to be there on each box; it is empty where files come with their bytes.
    """

    service: str
    embedder: Embedder
    batch: int
    folder: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Indexed:
    """What an index has, in 16 bytes an image: its ids, and the hashes of its paths, both ascending."""

    ids: Ids
    paths: Hashes

    @classmethod
    def of(cls, store: VectorStore) -> Indexed:
        parts = [(part.ids, hashes(part.paths)) for part in store.scan()]
        ids, paths = zip((np.zeros(0, np.int64), hashes(())), *parts, strict=True)
        return cls(np.sort(np.concatenate(ids)), np.sort(np.concatenate(paths)))

    def has_path(self, path: str) -> bool:
        return among(hashes([path])[0], self.paths)

    def has_content(self, number: int) -> bool:
        return among(np.int64(number), self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """`read` gives its bytes; it raises `ImageError`."""

    path: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What became of some files, as `building.Built` says; `looked` are the hashes of all their paths."""

    vectors: Vectors
    looked: Hashes
    known: int
    without: int
    ignored: int
    bad: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """A box that cannot work at all, and why: what another try would not change."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A file and what became of it: in the index, rightly no photo, bad, or ready for the model (`given`)."""

    path: str
    known: bool = False
    ignored: bool = False
    bad: str = ""
    number: int = 0
    given: Any = None


def hashes(paths: Sequence[str]) -> Hashes:
    """A number of 64 bits for each path: a new one is that of one of 10⁸ old ones once in 10¹¹ times."""
    digests = (hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8) for path in paths)
    return np.frombuffer(b"".join(one.digest() for one in digests), np.uint64)


def among(number: np.int64 | np.uint64, ascending: Ids | Hashes) -> bool:
    place = int(np.searchsorted(ascending, number))
    return place < len(ascending) and bool(ascending[place] == number)


def parts(work: Work, indexed: Indexed, files: Iterable[File]) -> Iterator[Part | Stopped]:
    """Embeds files, some batches read and decoded ahead of the model, whatever their number.

    What is wrong with the box, or with the model, is an answer and no error: a cluster would try that four
    times over, and tell of it in its own words.
    """
    try:
        model = _checked(work)
        with ThreadPoolExecutor(_HANDS, thread_name_prefix="decode") as pool:
            looks = ahead(pool, lambda file: _look(model, indexed, file), iter(files), 2 * work.batch)
            while some := [one.result() for one in itertools.islice(looks, work.batch)]:
                yield _part(model, some)
    except (ConfigError, ServiceRejected) as error:
        yield Stopped(f"{platform.node()}: {error}")


def _checked(work: Work) -> InProcess:
    """The model of this process. Raises `ConfigError`: it is not the one that the index is of."""
    if work.folder and not Path(work.folder).is_dir():
        raise ConfigError(f"{work.folder}: no such folder on this box; each box needs it at this place")
    model = _model(work.service)
    if model.embedder != work.embedder:
        raise ConfigError(f"the model here is {model.embedder}, and the index has vectors of {work.embedder}")
    return model


@functools.cache
def _model(service: str) -> InProcess:
    """Once for a process, to which a cluster gives many parts of its work."""
    return InProcess(service)


def _look(model: InProcess, indexed: Indexed, file: File) -> _Look:
    if indexed.has_path(file.path):
        return _Look(path=file.path, known=True)
    candidate = Candidate(filename=Path(file.path).name, group="", path=file.path, found=True)
    try:
        candidate.check()
        data = file.read()
        number = content_number(hashlib.sha256(data).digest())
        if indexed.has_content(number):
            return _Look(path=file.path, known=True)
        return _Look(path=file.path, number=number, given=_prepared(model, file.path, data))
    except ImageError as error:
        ignored = candidate.need_not_be
        return _Look(path=file.path, ignored=ignored, bad="" if ignored else str(error))


def _prepared(model: InProcess, path: str, data: bytes) -> Any:
    try:
        return model.prepared(path, data)
    except RequestError as error:
        return error


def _part(model: InProcess, looks: Sequence[_Look]) -> Part:
    given = {one.number: one.given for one in looks if one.number and not isinstance(one.given, RequestError)}
    outcomes = dict(zip(given, model.each(list(given.values())), strict=True)) if given else {}
    ready = [(one, outcomes.get(one.number, one.given)) for one in looks if one.number]
    found = {one.number: (one.path, got) for one, got in ready if isinstance(got, np.ndarray)}
    broke = [f"{one.path}: {got}" for one, got in ready if isinstance(got, ServiceRejected)]
    without = sum(isinstance(got, RequestError) for _, got in ready)
    return Part(
        vectors=vectors(found, model.embedder.dimension),
        looked=hashes([one.path for one in looks]),
        known=len(ready) - len(found) - len(broke) - without + sum(one.known for one in looks),
        without=without,
        ignored=sum(one.ignored for one in looks),
        bad=(*(one.bad for one in looks if one.bad), *broke),
    )


def vectors(rows: dict[int, tuple[str, Floats]], dimension: int) -> Vectors:
    """Images by their id, with path and embedding; there may be none."""
    embeddings = np.array([embedding for _, embedding in rows.values()], np.float32)
    return Vectors(
        ids=np.array(list(rows), np.int64),
        paths=tuple(path for path, _ in rows.values()),
        embeddings=embeddings.reshape(-1, dimension),
    )
