"""What the tests of both engines ask: a run into an index of files, watched while it lasts."""

import hashlib
import ipaddress
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from tests.waiting import until
from windmill.engines.building import Plan
from windmill.engines.in_process import InProcess
from windmill.index import files
from windmill.model import Numbering, content_number

SERVICE = "label_embedding"
BATCH = 4


@dataclass(frozen=True)
class Collection:
    """A folder; `vectors`: what the model makes of its photos, by their ids; `bad`: files that are none."""

    folder: Path
    vectors: dict
    bad: tuple
    copies: int


@dataclass
class Watch:
    """A meter that looks which processes work, and where they listen."""

    told: list = field(default_factory=list)
    outside: set = field(default_factory=set)

    def update(self, done, total=None):
        self.told.append((done, total))
        self.outside |= {place for child in children() for place in _listens_outside(child)}


def direct(paths):
    """The vectors of photos by the model in this process, one by one."""
    model = InProcess(SERVICE)
    data = {path: path.read_bytes() for path in paths}
    return {
        content_number(hashlib.sha256(some).digest()): model.image(str(path), some)
        for path, some in data.items()
    }


def index(folder):
    return files.create(folder / "images", InProcess(SERVICE).embedder, Numbering.CONTENT)


def plan(source):
    return Plan(source=str(source), service=SERVICE, batch=BATCH)


def children():
    return psutil.Process().children(recursive=True)


def _listens_outside(process):
    try:
        connections = process.net_connections("inet")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    listening = [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]
    return [(process.name(), *place) for place in listening if not _loopback(place.ip)]


def _loopback(text):
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_first(built, store, watch, collection):
    """Everything is in the index, once, as the model here sees it; the rest is told."""
    assert (built.added, built.known, built.ignored) == (len(collection.vectors), collection.copies, 1)
    assert sorted(line.split(": ")[0] for line in built.bad) == sorted(collection.bad)
    assert all(line.split(": ", 1)[1] for line in built.bad)
    assert watch.told[-1][0] == len(collection.vectors) + collection.copies + len(collection.bad) + 1
    assert not watch.outside, watch.outside
    check_index(store, collection)


def check_index(store, collection):
    kept = store.fetch(np.array(sorted(collection.vectors), np.int64))
    assert store.count() == len(kept) == len(collection.vectors)
    for number, path, vector in zip(kept.ids.tolist(), kept.paths, kept.embeddings, strict=True):
        assert Path(path).is_file()
        assert np.abs(vector - collection.vectors[number]).max() < 2e-6


def check_second(built, collection):
    """Nothing is embedded again; what is bad is told again."""
    assert (built.added, built.known) == (0, len(collection.vectors) + collection.copies)
    assert len(built.bad) == len(collection.bad)


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from tests.engines import runs
from windmill.engines.ray import Ray
from windmill.engines.spark import Spark

class Interrupts:
    def update(self, done, total=None):
        print("\\n".join(str(child.pid) for child in runs.children()), flush=True)
        os.killpg(0, signal.SIGINT)  # as a terminal does

engine = {"ray": Ray, "spark": Spark}[sys.argv[1]](sys.argv[2])
engine(runs.plan(sys.argv[3]), runs.index(Path(sys.argv[4])), Interrupts())
"""


def interrupt(engine, address, collection, folder):
    """Ctrl-C in the middle of a run: what was embedded is kept, and nothing goes on."""
    command = [sys.executable, "-c", INTERRUPTED, engine, address, str(collection.folder), str(folder)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=500, start_new_session=True, check=False
    )
    assert ended.stderr.rstrip().endswith("KeyboardInterrupt"), ended.stderr[-3000:]
    pids = {int(line) for line in ended.stdout.splitlines() if line.isdigit()}
    assert pids
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 60)
    assert index(folder).count() > 0
