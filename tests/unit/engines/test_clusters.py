"""What clusters' boxes do with files, and what becomes of it where the index is; the model is a double."""

import hashlib
import sys

import numpy as np
import pytest

from windmill.engines import looking
from windmill.engines.building import Plan
from windmill.engines.gathering import Gathering
from windmill.engines.looking import File, Indexed, Part, Stopped, Work
from windmill.engines.ray import Ray
from windmill.engines.spark import Spark
from windmill.errors import ClusterError, ConfigError, ImageError, ServiceRejected, StoreError
from windmill.index.memory import MemoryStore
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering, content_number
from windmill.services.base import RequestError

EMBEDDER = Embedder(service="double", name="of a model", version="1", dimension=2)
WORK = Work(service="double", embedder=EMBEDDER, batch=2)


class Double:
    """A model that sees the length of a file; `b"none"` has nothing to be seen, `b"break"` breaks it."""

    embedder = EMBEDDER

    def __init__(self):
        self.seen = []

    def prepared(self, name, data):
        if data == b"bad":
            raise ImageError(f"{name}: damaged")
        if data == b"none":
            raise RequestError("nobody is in it")
        return data

    def each(self, inputs):
        self.seen += inputs
        broke = ServiceRejected("broke on it", service="double")
        return [broke if data == b"break" else np.array([1, len(data)], np.float32) for data in inputs]


class Quiet:
    def __init__(self):
        self.told = []

    def update(self, done, total=None):
        self.told.append((done, total))


@pytest.fixture
def model(monkeypatch):
    double = Double()
    monkeypatch.setattr(looking, "_model", lambda service: double)
    return double


def number(data):
    return content_number(hashlib.sha256(data).digest())


def files(**data):
    return [File(path=f"/{name}.jpg", read=lambda data=some: data) for name, some in data.items()]


def store(**data):
    kept = MemoryStore(EMBEDDER, Numbering.CONTENT)
    kept.upsert(
        Vectors(
            ids=np.array([number(some) for some in data.values()], np.int64),
            paths=tuple(f"/{name}.jpg" for name in data),
            embeddings=np.array([[1, len(some)] for some in data.values()], np.float32).reshape(-1, 2),
        )
    )
    return kept


def run(kept, found, meter=None):
    gathering = Gathering(kept, meter or Quiet())
    gathering.take(looking.parts(WORK, gathering.indexed, found))
    return gathering.built()


def test_each_file_is_told_for_what_it_is(model):
    kept = store(here=b"old")
    text = File(path="/read.me.txt", read=lambda: b"bad")
    found = [*files(here=b"changed", copy=b"old", new=b"new", bad=b"bad", none=b"none", hard=b"break"), text]
    built = run(kept, found)
    assert (built.added, built.known, built.without, built.ignored) == (1, 2, 1, 1)
    assert built.bad == ("/bad.jpg: damaged", "/hard.jpg: broke on it")
    assert model.seen == [b"new", b"break"]
    assert kept.count() == 2


def test_progress_counts_every_file(model):
    meter = Quiet()
    run(store(), files(a=b"1", b=b"22", c=b"bad", d=b"none", e=b"1"), meter)
    assert [done for done, _ in meter.told] == [2, 4, 5]


def test_the_same_content_is_added_once_wherever_it_is_embedded(model):
    kept = store()
    gathering = Gathering(kept, Quiet())
    for part in (files(a=b"1", b=b"1"), files(c=b"1"), files(d=b"22")):
        gathering.take(looking.parts(WORK, gathering.indexed, part))
    assert (gathering.built().added, gathering.built().known) == (2, 2)
    assert kept.count() == 2


def test_a_task_that_is_tried_again_changes_nothing(model):
    kept = store()
    gathering = Gathering(kept, Quiet())
    again = list(looking.parts(WORK, gathering.indexed, files(a=b"1", b=b"22")))
    gathering.take(again + again)
    assert gathering.built().added == kept.count() == 2


def test_what_came_before_an_interruption_is_kept(model):
    kept = store()
    gathering = Gathering(kept, Quiet())

    def interrupted():
        yield from looking.parts(WORK, gathering.indexed, files(a=b"1", b=b"22"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gathering.take(interrupted())
    assert kept.count() == 2


def test_a_store_that_fails_is_asked_once(model, monkeypatch):
    kept, asked = store(), []

    def full(vectors):
        asked.append(len(vectors))
        raise StoreError("no space left on device")

    monkeypatch.setattr(kept, "upsert", full)
    with pytest.raises(StoreError, match="no space"):
        run(kept, files(a=b"1", b=b"22"))
    assert asked == [2]


def test_a_box_with_another_model_embeds_nothing(model):
    model.embedder = Embedder(service="double", name="of a model", version="2", dimension=2)
    kept = store()
    with pytest.raises(ClusterError, match=r"model here is double \(of a model 2.*the index has.*model 1"):
        run(kept, files(a=b"1"))
    assert (kept.count(), model.seen) == (0, [])


def test_a_box_that_has_no_such_folder_says_so(tmp_path):
    work = Work(service="double", embedder=EMBEDDER, batch=2, folder=str(tmp_path / "share"))
    (said,) = looking.parts(work, Indexed.of(store()), files(a=b"1"))
    assert isinstance(said, Stopped)
    assert "share: no such folder on this box" in said.reason


def test_files_are_read_no_further_ahead_than_two_batches(model):
    read = []
    many = (File(path=f"/{n}.jpg", read=lambda n=n: read.append(n) or b"x%d" % n) for n in range(100))
    first = next(looking.parts(WORK, Indexed.of(store()), many))
    assert isinstance(first, Part)
    assert len(read) <= 2 + 2 * WORK.batch


def test_an_index_with_ids_of_the_database_is_left_alone():
    with pytest.raises(ConfigError, match="--engine queue"):
        Gathering(MemoryStore(EMBEDDER, Numbering.IMAGES), Quiet())


@pytest.mark.parametrize(("engine", "library"), [(Ray(), "ray"), (Spark(), "pyspark.errors")])
def test_a_missing_extra_is_named(engine, library, tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(b"1")
    monkeypatch.setitem(sys.modules, library, None)
    for name in ("PYSPARK_PYTHON", "SPARK_LOCAL_IP", "RAY_USAGE_STATS_ENABLED", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "")
    extra = library.removeprefix("py").removesuffix(".errors")
    with pytest.raises(ConfigError, match=rf"pip install 'windmill-images\[{extra}\]'"):
        engine(Plan(source=str(tmp_path), service="double", batch=2), store(), Quiet())


def test_a_folder_that_is_not_there_starts_no_cluster(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        Ray()(Plan(source=str(tmp_path / "gone"), service="double", batch=2), store(), Quiet())
