"""Admits images: each is read once, hashed, measured, and stored unless its content is there already."""

from __future__ import annotations

import csv
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from windmill.errors import ConfigError, ImageError
from windmill.model import NewImage
from windmill.ports import ImageRegistry
from windmill.progress import Meter

BATCH = 200  # images in one transaction
_READERS = 4
_AHEAD = 4 * _READERS  # images that are read before their turn

# What lies in photo folders and is no photo; anything else that does not open is reported as a bad image.
_DOCUMENTS = "csv db docx gz html ini json log md pdf py sql tar tsv txt xml xmp yaml yml zip"
_FILMS = "aae avi mov mp3 mp4"
_NO_IMAGE = frozenset(f".{ending}" for ending in f"{_DOCUMENTS} {_FILMS}".split())

Read = Callable[["Candidate"], bytes]
Measure = Callable[[str, bytes], tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file or an address that may be an image."""

    filename: str
    group: str
    path: str | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        return self.path or str(self.url)


@dataclass(slots=True)
class Admitted:
    """What a run has done so far. Duplicates name the image that has the same content."""

    added: int = 0
    duplicates: list[tuple[str, int]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    ignored: int = 0

    @property
    def seen(self) -> int:
        return self.added + len(self.duplicates) + len(self.bad)


def candidates(source: str, group: str, stdin: TextIO) -> Iterator[Candidate]:
    """What `source` names: a folder, a CSV file with a header, or `-` for lines on standard input."""
    if source == "-":
        lines = (line.strip() for line in stdin)
        return (_candidate(line, group) for line in lines if line)
    path = Path(source)
    if path.is_dir():
        return (_candidate(str(file), group) for file in _files(path))
    if path.is_file() and path.suffix.lower() == ".csv":
        return _rows(path, group)
    if path.is_file():
        return iter([_candidate(source, group)])
    raise ConfigError(f"{source}: no such folder or file; expected a folder, a CSV file, an image, or -")


def ingest(
    found: Iterable[Candidate],
    registry: ImageRegistry,
    *,
    read: Read,
    measure: Measure,
    meter: Meter,
    dry_run: bool = False,
) -> Admitted:
    """Admits what is found, in batches; a bad file is noted and nothing else stops."""
    done = Admitted()
    wanted = (one for one in found if not _ignored(one, done))
    with ThreadPoolExecutor(_READERS, thread_name_prefix="ingest") as pool:
        futures = _ahead(pool, lambda one: _measured(one, read, measure), wanted)
        while batch := list(itertools.islice(futures, BATCH)):
            good = _results(batch, done)
            _store(good, registry, done, dry_run=dry_run)
            meter.update(done.seen)
    return done


def _files(folder: Path) -> Iterator[Path]:
    """All files below `folder` in order, without hidden ones; links to folders are not followed."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        elif path.is_file():
            yield path


def _rows(path: Path, group: str) -> Iterator[Candidate]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"path", "url"} & set(rows.fieldnames or ()):
            raise ConfigError(f"{path}: expected a header with a column path or url (and group, filename)")
        for row in rows:
            place = row.get("path") or row.get("url")
            if place:
                yield _candidate(place, row.get("group") or group, row.get("filename"))


def _candidate(place: str, group: str, filename: str | None = None) -> Candidate:
    if place.startswith(("http://", "https://")):
        name = place.split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]
        return Candidate(filename=filename or name or place, group=group, url=place)
    path = Path(place).absolute()
    return Candidate(filename=filename or path.name, group=group, path=str(path))


def _ignored(one: Candidate, done: Admitted) -> bool:
    ignored = Path(one.filename).suffix.lower() in _NO_IMAGE
    done.ignored += ignored
    return ignored


def _measured(one: Candidate, read: Read, measure: Measure) -> NewImage:
    if any("\ud800" <= letter <= "\udfff" for letter in one.name):  # bytes that are no text
        raise ImageError(f"{one.name!r}: the file's name is not UTF-8; rename it")
    data = read(one)
    width, height = measure(one.name, data)
    return NewImage(
        filename=one.filename,
        group=one.group,
        content_hash=hashlib.sha256(data).digest(),
        width=width,
        height=height,
        path=one.path,
        url=one.url,
    )


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Candidate], NewImage], found: Iterator[Candidate]
) -> Iterator[Future[NewImage]]:
    """Results in order, with a bounded number under way: memory does not grow with the collection."""
    under_way = [pool.submit(work, one) for one in itertools.islice(found, _AHEAD)]
    while under_way:
        yield under_way.pop(0)
        under_way += [pool.submit(work, one) for one in itertools.islice(found, 1)]


def _results(batch: Sequence[Future[NewImage]], done: Admitted) -> list[NewImage]:
    good = []
    for future in batch:
        try:
            good.append(future.result())
        except ImageError as error:
            done.bad.append(str(error))
    return good


def _store(images: Sequence[NewImage], registry: ImageRegistry, done: Admitted, *, dry_run: bool) -> None:
    known = dict(registry.known([image.content_hash for image in images])) if images else {}
    fresh: dict[bytes, NewImage] = {}
    twice = []
    for image in images:
        if image.content_hash in known or image.content_hash in fresh:
            twice.append(image)
        else:
            fresh[image.content_hash] = image
    added = registry.add(list(fresh.values())) if fresh and not dry_run else {}
    done.added += len(fresh) if dry_run else len(added)
    known |= added
    done.duplicates += [(str(one.path or one.url), known.get(one.content_hash, 0)) for one in twice]
