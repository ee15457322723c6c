"""The benchmarks keep up with what they measure."""

import importlib
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_imports(name):
    if rival := RIVALS.get(name):
        pytest.importorskip(rival, reason="it is installed for a benchmark only: pip install -e '.[bench]'")
    assert importlib.import_module(name)
