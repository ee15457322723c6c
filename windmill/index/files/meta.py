"""`PREFIX.meta.json`: whose vectors an index has, and what its merged files must be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windmill.errors import ConfigError, IndexDamaged
from windmill.index.files.layout import Layout, bordered, put
from windmill.index.vectors import Embedder
from windmill.model import Numbering

FORMAT = 1
_CHUNK = 1 << 22  # bytes that are hashed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the merged index is searched: its `kind` (flat, hnsw or ivf), the `effort` of a search (candidates
    for HNSW, lists for IVF), and the `recall` at 10 that this had when it was merged."""

    kind: str
    effort: int
    recall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """`count` images were merged in `generation` (0: none as yet), of the segments `absorbed`; none of these
    was above `last`. `files` has size in bytes and SHA-256 by ending."""

    embedder: Embedder
    numbering: Numbering
    generation: int = 0
    count: int = 0
    last: int = 0
    absorbed: tuple[int, ...] = ()
    tuning: Tuning = Tuning(kind="flat", effort=0, recall=1.0)
    files: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def read(layout: Layout) -> Meta:
    """Raises `ConfigError` where there is no index, `IndexDamaged` where the file cannot be read."""
    path = layout.meta
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as exc:
        if layout.parquet.exists():
            raise IndexDamaged(f"{path} is missing beside {layout.parquet.name}: put it back") from exc
        raise ConfigError(
            f"{layout.prefix}: no index there (no {path.name}); windmill index build --image-dir DIR"
            f" --index-prefix {layout.prefix} makes one"
        ) from exc
    except OSError as exc:
        raise ConfigError(f"{path}: cannot read it: {exc.strerror}") from exc
    try:
        return _parsed(json.loads(text))
    except (ValueError, LookupError, TypeError, RecursionError) as exc:
        raise IndexDamaged(f"{path}: not an index's meta.json ({type(exc).__name__}: {exc})") from exc


def write(layout: Layout, meta: Meta) -> None:
    """Replaces it at once."""
    with bordered(layout.meta):
        layout.meta.parent.mkdir(parents=True, exist_ok=True)
        put(layout.meta, (json.dumps(_document(meta), indent=1, ensure_ascii=False) + "\n").encode())


def fingerprint(path: Path) -> tuple[int, str]:
    """A file's size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _document(meta: Meta) -> dict[str, Any]:
    tuning = meta.tuning
    return {
        "format": FORMAT,
        "service": meta.embedder.service,
        "model": meta.embedder.name,
        "version": meta.embedder.version,
        "dimension": meta.embedder.dimension,
        "numbering": str(meta.numbering),
        "count": meta.count,
        "generation": meta.generation,
        "last_segment": meta.last,
        "merged_segments": list(meta.absorbed),
        "index": {"kind": tuning.kind, "effort": tuning.effort, "recall_at_10": tuning.recall},
        "files": {ending: {"bytes": size, "sha256": digest} for ending, (size, digest) in meta.files.items()},
    }


def _parsed(data: Any) -> Meta:
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']}, and this Windmill reads {FORMAT}")
    index = data["index"]
    return Meta(
        embedder=Embedder(
            service=data["service"],
            name=data["model"],
            version=data["version"],
            dimension=int(data["dimension"]),
        ),
        numbering=Numbering(data["numbering"]),
        generation=int(data["generation"]),
        count=int(data["count"]),
        last=int(data["last_segment"]),
        absorbed=tuple(int(number) for number in data["merged_segments"]),
        tuning=Tuning(kind=index["kind"], effort=int(index["effort"]), recall=float(index["recall_at_10"])),
        files={ending: (int(one["bytes"]), one["sha256"]) for ending, one in data["files"].items()},
    )
