"""The benchmarks keep up with what they measure."""

import importlib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
BENCHES = sorted(path.stem for path in BENCH.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_imports(name):
    assert importlib.import_module(f"bench.{name}")
