"""Indexes of made vectors: written segment by segment, and merged by a process that is watched."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench.made_vectors import Made, path
from bench.rounds import Figures
from windmill.index.files import create
from windmill.index.vectors import Embedder, Floats, Ids, Vectors
from windmill.model import Numbering

NEAREST = 10
_WHOLE = "whole"  # a file that says that nothing of an index is missing
_LOOK = 0.01  # seconds between looks at a process's memory
_STATUS = re.compile(r"^(RssAnon|VmHWM):\s+(\d+) kB$", re.MULTILINE)
_MERGE = "import sys; from windmill.index.files import merge; from windmill.progress import Lines\n"
_MERGE += "from pathlib import Path; merge(Path(sys.argv[1]), Lines('merge', 'images', None))"


def written(folder: Path, made: Made, count: int) -> Path:
    """The prefix of an index of so many vectors in segments of a thousand, made unless it is there."""
    whole = folder / f"{'even' if made.even else 'made'}-{made.seed}-{made.dimension}-{count}"
    prefix = whole / "photos"
    if not (whole / _WHOLE).exists():
        shutil.rmtree(whole, ignore_errors=True)  # half of one, from a time before
        embedder = Embedder(service="clip", name="made", version="1", dimension=made.dimension)
        store = create(prefix, embedder, Numbering.IMAGES)
        for ids, vectors in made.vectors(count):
            store.upsert(Vectors(ids=ids, paths=[path(n) for n in ids.tolist()], embeddings=vectors))
        (whole / _WHOLE).touch()
    return prefix


def linked(prefix: Path, folder: Path) -> Path:
    """The same index in another folder, by hard links: segments are never written to again."""
    for one in sorted(prefix.parent.rglob("*")):
        there = folder / one.relative_to(prefix.parent)
        if one.is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            os.link(one, there)
    return folder / prefix.name


def ready(folder: Path, made: Made, count: int) -> Path:
    """The prefix of a merged one, made unless it is there."""
    prefix = written(folder, made, count)
    if not (_merged(prefix) / _WHOLE).exists():
        shutil.rmtree(scratch := folder / f"{prefix.parent.name}-merging", ignore_errors=True)
        copy = linked(prefix, scratch)
        merged(copy)
        keep(copy, prefix)
    return _merged(prefix) / prefix.name


def keep(copy: Path, prefix: Path) -> None:
    """Has a merged copy of what is at `prefix` for `ready`, in place of any before."""
    shutil.rmtree(_merged(prefix), ignore_errors=True)
    copy.parent.rename(_merged(prefix))


def _merged(prefix: Path) -> Path:
    return prefix.parent.with_name(f"{prefix.parent.name}-merged")


def merged(prefix: Path) -> Figures:
    """Merges in a process of its own: how long it takes, and its memory at the peak.

    Anonymous memory (RssAnon) is what it has for itself: looked at a hundred times a second. The peak that
    the kernel keeps (VmHWM, `ru_maxrss`) also counts pages of files that are mapped, which are in memory
    only as long as nobody else needs the room; it is given beside.
    """
    began, by_cpu = time.perf_counter(), _children()
    process = subprocess.Popen([sys.executable, "-c", _MERGE, str(prefix)])
    anonymous = whole = 0
    while process.poll() is None:
        text = Path(f"/proc/{process.pid}/status").read_text("ascii", "replace")
        seen = {name: int(kilobytes) for name, kilobytes in _STATUS.findall(text)}
        anonymous = max(anonymous, seen.get("RssAnon", 0))
        whole = max(whole, seen.get("VmHWM", 0))
        time.sleep(_LOOK)
    assert process.returncode == 0, process.returncode
    return {
        "s": time.perf_counter() - began,
        "s of CPU": _children() - by_cpu,
        "anonymous, MB": anonymous / 1e3,
        "with mapped files, MB": whole / 1e3,
    }


def _children() -> float:
    """CPU seconds of processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(prefix: Path) -> tuple[str, int]:
    """Of what kind the merged index is, and the effort with which it is searched."""
    index = json.loads(prefix.with_name(f"{prefix.name}.meta.json").read_text("utf-8"))["index"]
    return index["kind"], index["effort"]


def truth(made: Made, count: int, queries: Floats, chosen: list[Ids | None]) -> list[Ids]:
    """The ids nearest to each query (queries × 10) among each of `chosen` (ascending; None: all), by
    comparing with all vectors."""
    nothing = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    best = [nothing] * len(chosen)
    for ids, vectors in made.vectors(count):
        cosines = queries @ vectors.T
        for number, among in enumerate(chosen):
            kept = slice(None) if among is None else np.isin(ids, among, assume_unique=True)
            best[number] = _nearest(best[number], cosines[:, kept], ids[kept])
    return [ids for _, ids in best]


def _nearest(best: tuple[Floats, Ids], cosines: Floats, ids: Ids) -> tuple[Floats, Ids]:
    scores = np.concatenate([best[0], cosines], axis=1)
    numbers = np.concatenate([best[1], np.broadcast_to(ids, cosines.shape)], axis=1)
    order = np.argsort(-scores, axis=1)[:, :NEAREST]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
