"""Admits images: each is read once, hashed, measured, and stored unless its content is there already."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, TypeVar

from windmill.core.urls import shown
from windmill.errors import ConfigError, ImageError
from windmill.model import Measured, NewImage
from windmill.ports import ImageRegistry
from windmill.progress import Meter

BATCH = 200  # images in one transaction
_FOLDER, _FILE, _LINKED_FOLDER = range(3)
_READERS = 4
_AHEAD = 4 * _READERS  # images that are read before their turn

# What lies in photo folders and is rightly no photo. Whether a file is an image is said by its content alone;
# its ending only decides whether that it is none is worth a line.
_DOCUMENTS = "csv db docx gz html ini json log md pdf py sql tar tsv txt xml xmp yaml yml zip"
_FILMS = "aae avi mov mp3 mp4"
_NO_IMAGE = frozenset(f".{ending}" for ending in f"{_DOCUMENTS} {_FILMS}".split())

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)

In = TypeVar("In")
Out = TypeVar("Out")

Read = Callable[["Candidate"], bytes]
Measure = Callable[[str, bytes], Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A file or an address that may be an image: one that was named, or one `found` in a folder.

    `trouble` is why there is nothing to read: a folder that cannot be opened, a row without a place.
    """

    filename: str
    group: str
    path: str | None = None
    url: str | None = None
    found: bool = False
    trouble: str = ""

    @property
    def name(self) -> str:
        return self.path or (shown(self.url) if self.url else self.filename)

    @property
    def need_not_be(self) -> bool:
        """Whether it is a file that lies among photos, and is rightly no photo: that is not worth a line."""
        return self.found and Path(self.filename).suffix.lower() in _NO_IMAGE

    def check(self) -> None:
        """Raises `ImageError` for one in trouble, and for names that no database takes as text."""
        if self.trouble:
            raise ImageError(f"{self.name}: {self.trouble}")
        for text in (self.name, self.filename, self.group):
            _check(text)


def _silent(_: str) -> None:
    """Tells nobody."""


@dataclass(slots=True)
class Admitted:
    """What a run has done so far. Duplicates name the image that has the same content (0: of a dry run).

    Each bad file is told at once. Of duplicates and bad files `most_named` are kept by name (None: all), so
    that the memory of a long run does not grow with them.
    """

    tell: Callable[[str], None] = _silent
    most_named: int | None = None
    added: int = 0
    ignored: int = 0
    duplicate_count: int = 0
    bad_count: int = 0
    duplicates: list[tuple[str, int]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    seen: int = 0

    def duplicate(self, image: NewImage, image_id: int) -> None:
        self.duplicate_count += 1
        if self.most_named is None or len(self.duplicates) < self.most_named:
            self.duplicates.append((image.path or shown(str(image.url)), image_id))

    def refuse(self, line: str) -> None:
        self.bad_count += 1
        self.tell(line)
        if self.most_named is None or len(self.bad) < self.most_named:
            self.bad.append(line)


def candidates(source: str, group: str, stdin: TextIO) -> Iterator[Candidate]:
    """What `source` names: a folder, a CSV file with a header, an image, or `-` for lines on stdin."""
    if source == "-":
        lines = (line.strip() for line in stdin)
        return (_candidate(line, group) for line in lines if line)
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as exc:
        raise ConfigError(f"{source}: cannot look at it: {exc.strerror}") from exc
    if is_folder:
        return _walk(str(path.absolute()), group)
    if is_file and path.suffix.lower() == ".csv":
        return _rows(path, group)
    if is_file:
        return iter([_candidate(source, group)])
    raise ConfigError(f"{source}: no such folder or file; expected a folder, a CSV file, an image, or -")


def count(source: str) -> int | None:
    """How many candidates `source` has; None where nobody knows before the end."""
    if source == "-":
        return None
    try:
        return sum(1 for _ in candidates(source, "", io.StringIO()))
    except (OSError, ConfigError):
        return None  # whoever reads it says what is wrong


def ingest(
    found: Iterable[Candidate],
    registry: ImageRegistry,
    *,
    read: Read,
    measure: Measure,
    meter: Meter,
    dry_run: bool = False,
    done: Admitted | None = None,
) -> Admitted:
    """Admits what is found, in batches; a bad file is noted and nothing else stops.

    `done` is filled as it goes, so that who interrupts a run knows how far it came.
    """
    done = Admitted() if done is None else done
    registry = _DryRun(registry) if dry_run else registry
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="ingest")
    try:
        results = ahead(pool, lambda one: _measured(one, read, measure), iter(found), _AHEAD)
        good = _good(results, done, meter)
        while batch := list(itertools.islice(good, BATCH)):
            _store(batch, registry, done)
    finally:
        pool.shutdown(cancel_futures=True)
    return done


class _DryRun:
    """A registry that only remembers what it would have added."""

    def __init__(self, registry: ImageRegistry) -> None:
        self._registry = registry
        self._added: set[bytes] = set()

    def known(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        return dict.fromkeys(self._added.intersection(hashes), 0) | dict(self._registry.known(hashes))

    def add(self, images: Sequence[NewImage]) -> Mapping[bytes, int]:
        new = dict.fromkeys((image.content_hash for image in images), 0)
        self._added |= new.keys()
        return new


def _walk(folder: str, group: str) -> Iterator[Candidate]:
    """All files below `folder` in order, without hidden ones; links to folders are not followed."""
    try:
        with os.scandir(folder) as found:
            names = sorted((one.name, _kind(one)) for one in found if not one.name.startswith("."))
    except OSError as exc:
        trouble = f"cannot look into this folder: {exc.strerror}"
        yield Candidate(filename=folder, group=group, path=folder, trouble=trouble)
        return
    for name, kind in names:
        path = os.path.join(folder, name)  # noqa: PTH118 -- a Path for each of millions costs more than the walk
        if kind == _FOLDER:
            yield from _walk(path, group)
        elif kind == _FILE:
            yield Candidate(filename=name, group=group, path=path, found=True)


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    return _LINKED_FOLDER if entry.is_symlink() and Path(entry.path).is_dir() else _FILE


def _rows(path: Path, group: str) -> Iterator[Candidate]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if not {"path", "url"} & set(rows.fieldnames or ()):
                raise ConfigError(
                    f"{path}: expected a header with a column path or url (and group, filename)"
                )
            for row in rows:
                yield _row(row, group, f"{path}, line {rows.line_num}")
    except OSError as exc:
        raise ConfigError(f"{path}: cannot read it: {exc.strerror}") from exc
    except csv.Error as exc:
        raise ConfigError(f"{path}: line {rows.line_num}: not CSV: {exc}; is a quote left open?") from exc


def _row(row: Mapping[str, str | None], group: str, where: str) -> Candidate:
    place = row.get("path") or row.get("url")
    if not place:
        return Candidate(filename=where, group=group, trouble="neither path nor url in this row")
    return _candidate(place, row.get("group") or group, row.get("filename"))


def _candidate(place: str, group: str, filename: str | None = None) -> Candidate:
    if _ADDRESS.match(place):
        name = shown(place).split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]
        return Candidate(filename=filename or name or shown(place), group=group, url=place)
    path = Path(place).absolute()
    return Candidate(filename=filename or path.name, group=group, path=str(path))


def _measured(one: Candidate, read: Read, measure: Measure) -> NewImage | None:
    """The image that a candidate is; None for a file that is none and need not be."""
    try:
        return _examined(one, read, measure)
    except ImageError:
        if one.need_not_be:
            return None
        raise


def _examined(one: Candidate, read: Read, measure: Measure) -> NewImage:
    one.check()
    data = read(one)
    found = measure(one.name, data)
    return NewImage(
        filename=one.filename,
        group=one.group,
        content_hash=hashlib.sha256(data).digest(),
        width=found.width,
        height=found.height,
        path=one.path,
        url=one.url,
        as_is=len(data) if found.as_is and one.path else None,  # what an address gives next time is not ours
    )


def _check(text: str) -> None:
    """Raises `ImageError` for what no database takes as text."""
    if "\0" in text:
        raise ImageError(f"{text!r:.200}: a NUL in it; a list has one path or address in each line")
    if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ImageError(f"{text!r:.500}: not UTF-8; rename the file, or save the list as UTF-8")


def ahead(pool: Executor, work: Callable[[In], Out], found: Iterator[In], most: int) -> Iterator[Future[Out]]:
    """Results in order, with at most so many under way: memory does not grow with the collection."""
    under_way = deque(pool.submit(work, one) for one in itertools.islice(found, most))
    while under_way:
        yield under_way.popleft()
        under_way += [pool.submit(work, one) for one in itertools.islice(found, 1)]


def _good(results: Iterable[Future[NewImage | None]], done: Admitted, meter: Meter) -> Iterator[NewImage]:
    for future in results:
        try:
            image = future.result()
        except ImageError as error:
            done.refuse(str(error))
        else:
            done.ignored += image is None
            if image is not None:
                yield image
        done.seen += 1
        meter.update(done.seen)


def _store(images: Sequence[NewImage], registry: ImageRegistry, done: Admitted) -> None:
    """Adds each content that is new, once; what someone else added meanwhile is a duplicate as well."""
    first: dict[bytes, NewImage] = {}
    for image in images:
        first.setdefault(image.content_hash, image)
    known = dict(registry.known(list(first)))
    fresh = [image for content, image in first.items() if content not in known]
    added = registry.add(fresh) if fresh else {}
    done.added += len(added)
    late = [image.content_hash for image in fresh if image.content_hash not in added]
    known |= added
    known |= registry.known(late) if late else {}
    for image in images:
        if image is not first[image.content_hash] or image.content_hash not in added:
            done.duplicate(image, known.get(image.content_hash, 0))
