"""The engine `spark` on real clusters of this box; skipped where Spark is not installed."""

import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

from tests.engines import runs
from windmill.engines.spark import Spark
from windmill.errors import ConfigError

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="no Spark: make test-engines"),
    pytest.mark.filterwarnings("ignore"),  # Spark's own, of what is deprecated in pandas
    pytest.mark.timeout(600),
]


def test_two_executors_give_the_same_vectors(collection, tmp_path):
    store, watch = runs.index(tmp_path), runs.Watch()
    spark = Spark("local-cluster[2,1,1024]")
    built = spark(runs.plan(collection.folder), store, watch)
    runs.check_first(built, store, watch, collection)
    runs.check_second(spark(runs.plan(collection.folder), store, watch), collection)


def test_ctrl_c_ends_all_and_keeps_what_was_embedded(collection, tmp_path):
    runs.interrupt("spark", "local[2]", collection, tmp_path)


def test_a_machine_without_java_is_told_what_it_lacks(collection, tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname", "python3"):  # what Spark's own scripts call before they look for Java
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    environment = {key: text for key, text in os.environ.items() if key != "JAVA_HOME"}
    ended = subprocess.run(
        [sys.executable, "-c", runs.INTERRUPTED, "spark", "local[2]", str(collection.folder), str(tmp_path)],
        env={**environment, "PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigError: Spark needs Java 17 or newer: apt-get install" in ended.stderr


def test_a_place_that_is_not_there_is_told(collection, tmp_path):
    with pytest.raises(ConfigError, match="gone: Spark cannot read it"):
        Spark("local[2]")(runs.plan(collection.folder / "gone"), runs.index(tmp_path), runs.Watch())


def test_a_file_that_is_too_large_is_told_and_a_film_is_not(collection, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(next(collection.folder.glob("*.jpg")), folder / "good.jpg")
    with (folder / "large.jpg").open("wb") as large, (folder / "film.mov").open("wb") as film:
        large.truncate(40_000_000)
        film.truncate(40_000_000)
    built = Spark("local[2]")(runs.plan(folder), runs.index(tmp_path), runs.Watch())
    assert (built.added, built.ignored) == (1, 1)
    assert built.bad == (f"{folder}/large.jpg: the file is larger than 32 MB",)
