"""The engine `ray` on real clusters of this box; skipped where Ray is not installed (`make test-engines`)."""

import importlib.util
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import runs
from tests.servers.base import free_port
from windmill.engines.ray import Ray
from windmill.errors import ClusterError

pytestmark = [
    # Not imported to find out: Ray reads its variables when it is, and the engine sets them before.
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here: make test-engines"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of what is deprecated in Ray
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module", autouse=True)
def token(tmp_path_factory):
    """A token of the tests' own, which their clusters ask for and their drivers show."""
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        yield


@pytest.fixture(scope="module")
def cluster(token):
    """The address of a cluster on loopback, with cores for two actors."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=4", "--object-store-memory=100000000", "--include-dashboard=false"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any("Ray runtime started" in line for line in process.stdout)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def test_a_cluster_gives_the_same_vectors(collection, cluster, tmp_path):
    store, watch = runs.index(tmp_path), runs.Watch()
    ray = Ray(cluster)
    built = ray(runs.plan(collection.folder), store, watch)
    runs.check_first(built, store, watch, collection)
    runs.check_second(ray(runs.plan(collection.folder), store, watch), collection)


def test_one_of_its_own_leaves_nothing_behind(collection, tmp_path):
    before = runs.children()
    store, watch = runs.index(tmp_path), runs.Watch()
    runs.check_first(Ray("local")(runs.plan(collection.folder), store, watch), store, watch, collection)
    assert set(runs.children()) <= set(before)


def test_ctrl_c_ends_all_and_keeps_what_was_embedded(collection, tmp_path):
    runs.interrupt("ray", "local", collection, tmp_path)


def test_a_cluster_that_is_not_there_is_told(collection, tmp_path):
    with pytest.raises(ClusterError, match=r"Ray at 127\.0\.0\.1:\d+: "):
        Ray(f"127.0.0.1:{free_port()}")(runs.plan(collection.folder), runs.index(tmp_path), runs.Watch())
