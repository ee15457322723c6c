"""Stores by their addresses: `PREFIX` of FAISS files, `milvus:…`, `pgvector:…`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from windmill.errors import ConfigError
from windmill.extras import needs
from windmill.index.store import VectorStore
from windmill.index.vectors import Embedder
from windmill.model import Numbering
from windmill.settings import Settings

FORMS = "PREFIX (files), milvus:FILE.db, milvus:http://HOST:19530 or pgvector:NAME (the database)"


def create_store(address: str, embedder: Embedder, numbering: Numbering, settings: Settings) -> VectorStore:
    """The store at an address, begun if there is none. Raises `OtherEmbedder` where it is another model's,
    `ConfigError` for an address of no known form, `StoreUnavailable`."""
    kind, rest = _parsed(address)
    if kind == "pgvector":
        from windmill.index import pgvector

        return pgvector.create(rest, embedder, numbering, settings)
    if kind == "milvus":
        with needs("milvus"):
            from windmill.index import milvus
        return milvus.create(rest, embedder, numbering, settings.milvus_token)
    with needs("index"):
        from windmill.index import files
    return files.create(Path(rest), embedder, numbering)


def open_store(address: str, settings: Settings) -> VectorStore:
    """The store at an address. Raises `ConfigError` where there is none, `StoreUnavailable`."""
    kind, rest = _parsed(address)
    if kind == "pgvector":
        from windmill.index import pgvector

        return pgvector.open_index(rest, settings)
    if kind == "milvus":
        with needs("milvus"):
            from windmill.index import milvus
        return milvus.open_index(rest, settings.milvus_token)
    with needs("index"):
        from windmill.index import files
    return files.open_index(Path(rest))


def prefix_of(address: str) -> Path:
    """Where its files are. Raises `ConfigError` for the address of another store."""
    kind, rest = _parsed(address)
    if kind != "files":
        raise ConfigError(
            f"{address}: this works on files only; windmill index load PREFIX --store {address} brings"
            " them there"
        )
    return Path(rest)


def background(address: str) -> Callable[[VectorStore], None]:
    """What is to be called when a worker has added to the store at an address: files are merged now and then,
    in a process of its own; other stores see to that themselves."""
    kind, rest = _parsed(address)
    if kind != "files":
        return lambda _: None
    with needs("index"):
        from windmill.index.files.compaction import Compaction
    return Compaction(Path(rest))


def _parsed(address: str) -> tuple[str, str]:
    kind, colon, rest = address.partition(":")
    if kind in ("milvus", "pgvector") and rest:
        return kind, rest
    if not address or (colon and "/" not in kind):
        raise ConfigError(f"{address or 'an empty address'}: not a store; expected {FORMS}")
    if not Path(address).name or Path(address).name == "..":
        raise ConfigError(f"{address}: no prefix: files are named after its last part, as in photos/2024")
    return "files", address
