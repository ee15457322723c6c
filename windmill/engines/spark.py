"""Embeds what Spark can read (folders, HDFS, S3) on a cluster of Spark."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import sys
from array import array
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from windmill.engines.building import Built, Plan
from windmill.engines.gathering import Gathering
from windmill.engines.looking import File, Hashes, Indexed, Part, Stopped, Work, among, hashes, parts
from windmill.errors import ClusterError, ConfigError
from windmill.extras import needs
from windmill.index.store import VectorStore
from windmill.ingesting import Candidate, ahead
from windmill.progress import Meter
from windmill.services.uploads import MOST_BYTES

LOCAL = "local[*]"

_AT_ONCE = 2  # jobs: while the last tasks of one come in, the next one has the cores that are free
_WAVES = 2  # tasks of a job for each core
_MOST = 1000  # tasks of a job, about 30 images each: all their vectors come into the memory here at once
_SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    # One file that cannot be read would end it all; which ones those were is found out afterwards.
    "spark.sql.files.ignoreCorruptFiles": "true",
    "spark.sql.files.ignoreMissingFiles": "true",
}
_LOOPBACK = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


@dataclass(frozen=True, slots=True)
class Spark:
    """A `building.Engine`. `master` is what Spark takes: `local[*]`, `spark://HOST:PORT`, `yarn`, `k8s://…`."""

    master: str = LOCAL

    def __call__(self, plan: Plan, store: VectorStore, meter: Meter) -> Built:
        """Raises `ConfigError`, `ClusterError`, `StoreError`."""
        run = Gathering(store, meter)
        work = Work(service=plan.service, embedder=store.embedder, batch=plan.batch)
        with _session(self.master) as session:
            files = _Files(session, plan.source)
            total, fit = _counted(files, run)
            with closing(files.parts(work, run.indexed)) as found:
                run.take(found, total)
            unread = np.setdiff1d(fit, run.looked)
            if len(unread):
                for path in (path for path, _ in files.listed() if among(hashes([path])[0], unread)):
                    run.refuse(f"{path}: Spark's workers could not read it")
        return run.built()


def _counted(files: _Files, run: Gathering) -> tuple[int, Hashes]:
    """How many files there are, and the hashes of those that are looked at; tells of the others.

    Spark would hold a file of any size in memory; so none that is too large is shown to anybody.
    """
    total, fit = 0, array("Q")
    for path, length in files.listed():
        total += 1
        if length <= MOST_BYTES:
            fit.append(int(hashes([path])[0]))
        elif Candidate(filename=path, group="", path=path, found=True).need_not_be:
            run.ignore()
        else:
            run.refuse(f"{path}: the file is larger than {MOST_BYTES / 1e6:g} MB")
    return total, np.array(fit, np.uint64)


class _Files:
    """What Spark finds at a place. Names that begin with a dot or with _ are hidden from it."""

    def __init__(self, session: Any, source: str) -> None:
        from pyspark.errors import AnalysisException

        self._context = session.sparkContext
        try:
            found = session.read.format("binaryFile").option("recursiveFileLookup", True).load(source)
        except AnalysisException as exc:
            raise ConfigError(f"{source}: Spark cannot read it: {_said(exc)}") from exc
        self._found = found

    def listed(self) -> Iterator[tuple[str, int]]:
        """Their paths, and their lengths in bytes."""
        rows = self._found.select("path", "length").toLocalIterator(prefetchPartitions=True)
        return ((_path(row.path), row.length) for row in rows)

    def parts(self, work: Work, indexed: Indexed) -> Generator[Part | Stopped, None, None]:
        """By jobs over some of Spark's partitions each, in their order.

        One job over all would keep every vector until its end, and `toLocalIterator` has a cluster work on
        one partition at a time.
        """
        rows = self._found.where(self._found.length <= MOST_BYTES).select("path", "content").rdd
        look = functools.partial(_looked, work, self._context.broadcast(indexed))
        windows = self._windows(rows.getNumPartitions())
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="spark") as pool:
            try:
                for job in ahead(
                    pool, lambda some: self._context.runJob(rows, look, some), windows, _AT_ONCE
                ):
                    yield from job.result()
            finally:
                self._context.cancelAllJobs()

    def _windows(self, partitions: int) -> Iterator[list[int]]:
        """As many partitions for a job as keep the cores busy that there are by then."""
        left = iter(range(partitions))
        while some := list(itertools.islice(left, min(_MOST, _WAVES * self._context.defaultParallelism))):
            yield some


def _looked(work: Work, indexed: Any, rows: Iterable[Any]) -> Iterator[Part | Stopped]:
    """In a process of a box; it keeps the model for the tasks that follow."""
    return parts(work, indexed.value, (_file(row.path, row.content) for row in rows))


def _file(name: str, content: bytes) -> File:
    return File(path=_path(name), read=lambda: bytes(content))


def _path(name: str) -> str:
    """A file's path as other engines have it; other places (`hdfs:`, `s3a:`) are what Spark calls them."""
    return name.removeprefix("file://").removeprefix("file:")


@contextmanager
def _session(master: str) -> Iterator[Any]:
    """A session of Spark; its workers run the same Python unless PYSPARK_PYTHON names another."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    here = master.startswith(("local", "spark://127.0.0.1", "spark://localhost"))
    if here:
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    logging.getLogger("py4j").setLevel(logging.ERROR)
    with needs("spark"):
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
    try:
        session = _started(master, {**_SETTINGS, **(_LOOPBACK if here else {})})
        try:
            yield session
        finally:
            session.stop()
    except (Py4JError, PySparkException) as exc:
        raise ClusterError(f"Spark at {master}: {_said(exc)}") from exc


def _started(master: str, settings: dict[str, str]) -> Any:
    from pyspark.errors import PySparkRuntimeError
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("windmill index build")
    try:
        return builder.config(map=settings).getOrCreate()
    except PySparkRuntimeError as exc:
        if exc.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise ConfigError(
            "Spark needs Java 17 or newer: apt-get install default-jre-headless, or set JAVA_HOME"
        ) from exc


def _said(exc: Exception) -> str:
    """What an error of Spark's comes to: the end of a worker's traceback, or the first line of Java's."""
    java = getattr(exc, "java_exception", None)
    lines = [line for line in str(java.getMessage() if java is not None else exc).splitlines() if line]
    if any(line.startswith("Traceback") for line in lines):
        return next(line for line in reversed(lines) if not line.startswith((" ", "\t", "JVM")))
    return lines[0] if lines else type(exc).__name__
