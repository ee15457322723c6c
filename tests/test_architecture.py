"""What the layers' contracts cannot say: names made in one place, the environment read in one place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted((ROOT / "windmill").rglob("*.py"))}
SCRIPTS = [ROOT / "producer.py", ROOT / "monitor_workers.py", *sorted((ROOT / "workers").glob("*.py"))]

# Where the environment is read or handed on, and why.
ENVIRONMENT = {
    "windmill/settings.py",  # every setting
    "windmill/lifeline.py",  # the pipe to the parent: no setting
    "windmill/decoding/pool.py",  # hands a little of ours on to decoders
    "windmill/children.py",  # hands ours on to children
    "windmill/engines/ray.py",  # tells Ray to keep to loopback, and to report to nobody
    "windmill/engines/spark.py",  # tells Spark the same, and which Python its workers run
    "windmill/services/weights/cache.py",  # the services stand beside the pipeline and its settings
}
# Where an error of any class is caught, and why.
BROAD = {
    "windmill/attempting.py": 1,  # nor must a thread that handles
    "windmill/committing.py": 1,  # the one place that settles must not die of a job
    "windmill/decoding/pixels.py": 1,  # Pillow's decoders promise no error class
    "windmill/engines/in_process.py": 1,  # whatever a model raises belongs to what it looked at
    "windmill/services/engine.py": 1,  # whatever a model raises belongs to who asked it
    "windmill/services/host.py": 2,  # counts failures of a model, remembers why it does not load
    "windmill/services/app.py": 2,  # /health says what is in the way, a request gets a 500
}


def strings(path):
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "windmill/catalog.py"])
def test_only_the_catalog_spells_a_queue_name(name):
    assert not [text for text in strings(MODULES[name]) if text.startswith("queue_") and text[6:] != "states"
                and text not in ("queue_depth", "queue_length", "queue_host", "queue_port",
                                 "queue_ssl")]  # fmt: skip


def test_the_environment_is_read_in_few_places():
    readers = {name for name, path in MODULES.items() if "os.environ" in path.read_text("utf-8")}
    assert readers == ENVIRONMENT


def test_an_error_of_any_class_is_caught_in_few_places():
    counts = {}
    for name, path in MODULES.items():
        handlers = [
            n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ExceptHandler)
        ]
        broad = [
            n
            for n in handlers
            if n.type is None or getattr(n.type, "id", "") in ("Exception", "BaseException")
        ]
        if broad:
            counts[name] = len(broad)
    assert counts == BROAD


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_a_few_lines_over_the_package(path):
    assert len(path.read_text("utf-8").splitlines()) <= 12


@pytest.mark.parametrize("name", MODULES)
def test_files_stay_small_enough_to_read(name):
    assert len(MODULES[name].read_text("utf-8").splitlines()) <= 350
