"""Builds that are killed in the middle: the next one makes of what they left what an undisturbed one does."""

import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest

from tests.killing import die_before_call
from tests.unit.engines.made import EMBEDDER, Meter, Model, replace
from windmill.engines.building import Plan
from windmill.engines.local import Local
from windmill.engines.notes import Notes
from windmill.files import read_file
from windmill.index.files import FaissFiles, create, merge, verify
from windmill.model import Numbering

# Before which call of what a build dies. Of its photos some were replaced, renamed and copied since the index
# was built.
MOMENTS = [
    (Model, "each", 1),  # nothing is written yet
    (Model, "each", 5),
    (FaissFiles, "upsert", 2),
    (Path, "replace", 1),  # a segment's files are there, under no name that counts
    (Path, "replace", 2),  # and one of them has its name
    (Notes, "write", 1),  # a segment counts, and no note tells of its files
    (Notes, "write", 3),
    (Notes, "doubtful", 1),  # everything is embedded, and what was replaced is still there
    (FaissFiles, "delete", 1),  # what was renamed has its new path
    (Notes, "settled", 1),  # all is done, and to be done once more
]


def build(photos, prefix):
    store = create(prefix, EMBEDDER, Numbering.CONTENT)
    engine = Local(
        model=Model(),
        read=lambda one: read_file(Path(one.path), 1_000_000),
        notes=prefix / "files.sqlite",
        segment=3,
    )
    return engine(Plan(source=str(photos), service="made", batch=2), store, Meter())


def die(photos, prefix, owner, name, count):
    """Builds, and is killed before the call number `count` of a function; in a process of its own."""
    die_before_call(owner, name, count)
    build(photos, prefix)


def content(prefix):
    found = [part for part in create(prefix, EMBEDDER, Numbering.CONTENT).scan() if len(part)]
    rows = [
        row
        for part in found
        for row in zip(part.ids.tolist(), part.paths, part.embeddings.tolist(), strict=True)
    ]
    return sorted(rows)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder that changed since the index beside it was built."""
    place = tmp_path_factory.mktemp("killed")
    folder = place / "photos"
    folder.mkdir()
    for n in range(6):
        (folder / f"{n}.jpg").write_bytes(b"photo %d" % n)
    build(folder, place / "old" / "index")
    for n in range(6, 15):
        (folder / f"{n:02}.jpg").write_bytes(b"photo %d" % n)
    replace(folder / "1.jpg", b"another")
    replace(folder / "2.jpg", b"nobody is in it")
    (folder / "3.jpg").rename(folder / "99.jpg")
    (folder / "4copy.jpg").write_bytes(b"photo 4")
    return folder


def copied(photos, name):
    shutil.copytree(photos.parent / "old", photos.parent / name)
    return photos.parent / name / "index"


@pytest.fixture(scope="module")
def undisturbed(photos):
    prefix = copied(photos, "undisturbed")
    built = build(photos, prefix)
    assert (built.added, built.without) == (10, 1)
    return content(prefix)


@pytest.fixture(scope="module")
def processes():
    """Children that need not import everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.parametrize(
    "moment", MOMENTS, ids=lambda moment: f"{moment[0].__name__}.{moment[1]}-{moment[2]}"
)
def test_a_build_that_was_killed_is_ended_by_the_next_one(photos, undisturbed, processes, moment):
    prefix = copied(photos, f"{moment[1]}{moment[2]}")
    victim = processes.Process(target=die, args=(photos, prefix, *moment))
    victim.start()
    victim.join(60)
    assert victim.exitcode == -signal.SIGKILL
    build(photos, prefix)
    assert content(prefix) == undisturbed
    merge(prefix, Meter())
    assert verify(prefix, Meter()) == []
    assert content(prefix) == undisturbed
    again = build(photos, prefix)
    assert (again.added, again.bad) == (0, ())
