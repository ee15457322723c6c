"""The engine `spark` on real clusters of this box; skipped where Spark is not installed."""

import importlib.util

import pytest

from tests.engines import runs
from windmill.engines.spark import Spark

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
