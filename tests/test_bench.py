"""The benchmarks keep up with what they measure."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from bench import indexes
from bench.made_vectors import PART, Made

BENCH = Path(__file__).parents[1] / "bench"
BENCHES = sorted(
    path.relative_to(BENCH.parent).with_suffix("").as_posix().replace("/", ".")
    for path in BENCH.rglob("*.py")
    if path.stem != "__init__"
)
RIVALS = {
    "bench.peers.celery_groups": "celery",
    "bench.peers.celery_tasks": "celery",
    "bench.peers.dramatiq_actors": "dramatiq",
}
MADE = Made(dimension=16)


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_imports(name):
    if rival := RIVALS.get(name):
        pytest.importorskip(rival, reason="it is installed for a benchmark only: pip install -e '.[bench]'")
    assert importlib.import_module(name)


def made(count):
    return np.concatenate([vectors for _, vectors in MADE.vectors(count)])


def test_made_vectors_are_the_same_each_time_however_many_are_made():
    few, more = made(PART), made(2 * PART + 1)
    assert np.array_equal(more[:PART], few)
    assert np.linalg.norm(more, axis=1) == pytest.approx(np.ones(2 * PART + 1), abs=1e-5)
    assert len(np.unique(np.concatenate([more, MADE.queries(PART)]), axis=0)) == 3 * PART + 1


def test_what_is_right_is_what_comparing_with_all_finds():
    asked, among = MADE.queries(3), np.arange(5, 2 * PART, 7)
    everywhere, some = indexes.truth(MADE, 2 * PART, asked, [None, among])
    cosines = asked @ made(2 * PART).T
    assert np.array_equal(everywhere, np.argsort(-cosines, axis=1)[:, : indexes.NEAREST] + 1)
    assert np.array_equal(some, among[np.argsort(-cosines[:, among - 1], axis=1)[:, : indexes.NEAREST]])


def test_a_merge_is_watched(tmp_path):
    figures = indexes.merged(
        indexes.linked(indexes.written(tmp_path / "kept", MADE, PART), tmp_path / "copy")
    )
    assert indexes.told(tmp_path / "copy" / "photos")[0] == "flat"
    assert 0 < figures["anonymous, MB"] <= figures["with mapped files, MB"]
