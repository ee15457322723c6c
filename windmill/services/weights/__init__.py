"""Model weights: pinned by version and sha256, fetched once, kept in a folder that can be copied over.

A loader calls `fetch(name)` and finds its files; `windmill models` does the rest (docs/models.md).
"""

from windmill.services.weights.cache import cache_folder, locked
from windmill.services.weights.entries import Entry, manifest, packaged
from windmill.services.weights.store import Weights, derived, fetch, known, present

__all__ = [
    "Entry",
    "Weights",
    "cache_folder",
    "derived",
    "fetch",
    "known",
    "locked",
    "manifest",
    "packaged",
    "present",
]
