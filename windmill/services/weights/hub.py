"""Repositories of Hugging Face's hub, or of another that HF_ENDPOINT names.

huggingface_hub knows the hub's answers, tokens and settings (HF_TOKEN, HF_HUB_OFFLINE, …); the files come
by our own downloader, since its own no longer goes on with what broke off (docs/adr/0015-one-downloader.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from windmill.services.weights.download import Digest, DownloadError, Wanted
from windmill.services.weights.entries import Entry, matching


def wanted(entry: Entry) -> Mapping[str, Wanted]:
    """The files of a repository that an entry asks for: path → where it is, as of one commit.

    Raises `DownloadError`.
    """
    hub = _library()
    repo = entry.source.where
    info: Any = _ask(hub, repo, entry.version)
    files = {one.rfilename: one for one in info.siblings}
    utils: Any = importlib.import_module("huggingface_hub.utils")
    headers = utils.build_hf_headers()
    return {
        path: Wanted(
            url=hub.hf_hub_url(repo, path, revision=info.sha),
            digest=_digest(files[path]),
            size=files[path].size,
            headers=headers,
        )
        for path in _chosen(entry, list(files))
    }


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as exc:
        raise DownloadError(f"{exc.name} is missing: pip install 'windmill-images[hub]'") from exc


def _ask(hub: Any, repo: str, revision: str) -> Any:
    errors: Any = importlib.import_module("huggingface_hub.errors")
    try:
        return hub.HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=30)
    except (OSError, errors.HTTPError) as exc:
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise DownloadError(f"{hub.HfApi().endpoint}/{repo}: {first}") from exc


def _chosen(entry: Entry, paths: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for pattern in entry.files:
        found = matching(pattern, paths)
        if not found:
            raise DownloadError(f"{entry.source.where} {entry.version}: it has no {pattern}")
        chosen += [path for path in found if path not in chosen]
    return chosen


def _digest(sibling: Any) -> Digest | None:
    """Large files are named by their SHA-256, small ones as git names them."""
    if sibling.lfs:
        return Digest("sha256", sibling.lfs.sha256)
    return Digest("git", sibling.blob_id) if sibling.blob_id else None
