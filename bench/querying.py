"""Queries of an index, one after the other: Windmill's files, FAISS on the same file, and clip-retrieval."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.indexes import NEAREST, told, truth
from bench.made_vectors import PART, Made, path
from bench.rounds import Figures
from windmill.index.files import FaissFiles
from windmill.index.files.ann import hushed
from windmill.index.vectors import Floats, Ids

PEER = Path(__file__).parent / "peers" / "clip_retrieval_queries.py"
SPACES = {"all": 1.0, "among 50 %": 0.5, "among 10 %": 0.1, "among 1 %": 0.01}
RECALL = "recall@10"
TIMES = ("p50, ms", "p99, ms", "p50 of CPU", "p99 of CPU")
_WIDE = 0.2  # share of images below which a graph is left aside
Ask = Callable[[Floats], Sequence[int]]  # ids of the nearest, best first
Times = tuple[float, float]  # of one query: seconds by the clock, and of CPU


@dataclass(frozen=True)
class Asked:
    """Queries of an index; `among` which ids each kind of query looks, and what is right."""

    queries: Floats
    among: dict[str, Ids | None]
    right: dict[str, Ids]

    @classmethod
    def of(cls, made: Made, count: int, queries: int) -> Asked:
        chance = np.random.default_rng(made.seed)
        among: dict[str, Ids | None] = {"all": None}
        for space, share in list(SPACES.items())[1:]:
            among[space] = np.sort(chance.choice(count, round(share * count), replace=False) + 1)
        asked = made.queries(queries)
        right = truth(made, count, asked, list(among.values()))
        return cls(asked, among, dict(zip(among, right, strict=True)))

    def figures(self, space: str, times: Sequence[Times], found: Sequence[Sequence[int]]) -> Figures:
        shares = [
            len(set(ids) & set(right)) / NEAREST
            for ids, right in zip(found, self.right[space].tolist(), strict=True)
        ]
        by_clock, by_cpu = np.percentile(np.array(times), [50, 99], axis=0).T * 1e3
        return {**dict(zip(TIMES, [*by_clock, *by_cpu], strict=True)), RECALL: float(np.mean(shares))}

    def timed(self, space: str, ask: Ask) -> Figures:
        """Each query alone, by one thread: of a machine that does other things too, its CPU time says more
        than the clock."""
        faiss.omp_set_num_threads(1)
        times, found = [], []
        for query in self.queries:
            began, by_cpu = time.perf_counter(), time.thread_time()
            found.append(ask(query))
            times.append((time.perf_counter() - began, time.thread_time() - by_cpu))
        return self.figures(space, times, found)


def ours(store: FaissFiles, among: Ids | None) -> Ask:
    """A store's search, with paths."""
    return lambda query: [hit.image_id for hit in store.search(query, NEAREST, among)]


@dataclass(frozen=True)
class Bare:
    """FAISS alone on a merged file, with the parameters that the index was tuned to."""

    kind: str
    effort: int
    index: faiss.Index

    @classmethod
    def of(cls, prefix: Path) -> Bare:
        kind, effort = told(prefix)
        flags = faiss.IO_FLAG_READ_ONLY | faiss.IO_FLAG_ONDISK_SAME_DIR
        with hushed():  # as --json has standard output for itself
            return cls(kind, effort, faiss.read_index(str(prefix.with_name(f"{prefix.name}.faiss")), flags))

    def asks(self, among: Ids | None) -> Ask:
        """The way that Windmill goes, by calls of FAISS alone: with a filter, so many times more candidates
        as fewer images count, and one by one where a graph leads astray."""
        share = 1.0 if among is None else len(among) / self.index.ntotal
        effort = math.ceil(self.effort / share)
        if self.kind == "ivf":
            lists = {"nprobe": min(effort, self.index.nlist)}
            return self._ask(self.index, partial(faiss.SearchParametersIVF, **lists), among)
        if share >= _WIDE:
            return self._ask(self.index, partial(faiss.SearchParametersHNSW, efSearch=effort), among)
        numbers = faiss.vector_to_array(self.index.id_map)  # the vectors' places are their ranks among these
        storage = faiss.downcast_index(self.index.index).storage
        ask = self._ask(storage, faiss.SearchParameters, np.searchsorted(numbers, among))
        return lambda query: numbers[ask(query)].tolist()

    def _ask(self, index: faiss.Index, given: Callable[..., object], among: Ids | None) -> Ask:
        def ask(query: Floats) -> Sequence[int]:
            chosen = None if among is None else faiss.IDSelectorBatch(among)
            found: list[int] = index.search(query[None], NEAREST, params=given(sel=chosen))[1][0].tolist()
            return found

        return ask


@contextmanager
def clip_retrieval(
    python: str, folder: Path, made: Made, count: int, asked: Asked
) -> Iterator[Callable[[], Figures]]:
    """clip-retrieval's index and query code in an environment of its own, with its defaults."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "queries.npy", asked.queries)
    _embeddings(folder / "embeddings", made, count)
    command = [python, str(PEER), str(folder), str(NEAREST)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    to, back = process.stdin, process.stdout
    assert back.readline() == "ready\n"

    def part() -> Figures:
        to.write("go\n")
        to.flush()
        reply = json.loads(back.readline())
        return asked.figures("all", reply["seconds"], [[n + 1 for n in ids] for ids in reply["ids"]])

    try:
        yield part
    finally:
        to.close()
        process.wait(60)


def _embeddings(folder: Path, made: Made, count: int) -> None:
    """As `clip-retrieval inference` writes them."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    parts = made.vectors(count)
    for number in range(-(-count // (100 * PART))):
        some = [part for _, part in zip(range(100), parts, strict=False)]
        ids, vectors = (np.concatenate(both) for both in zip(*some, strict=True))
        np.save(folder / "img_emb" / f"img_emb_{number:04}.npy", vectors)
        table = pa.table({"image_path": [path(n) for n in ids.tolist()]})
        pq.write_table(table, folder / "metadata" / f"metadata_{number:04}.parquet")
