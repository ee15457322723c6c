"""`windmill models` as a process, against a hub of our own: killed in the middle, two at once."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.files_server import Files, serving
from tests.waiting import until

REPO = "Salesforce/blip-image-captioning-base"
COMMIT = "c0ffee" * 6 + "beef"
WEIGHTS = bytes(range(251)) * 40_000  # about 10 MB
REPOSITORY = {"config.json": b"{}", "vocab.txt": b"a\nb\n", "model.safetensors": WEIGHTS, "tf_model.h5": b"x"}
FOLDER = f"{REPO.replace('/', '+')}-main"
PATIENCE = 60.0


def sibling(path, data):
    """What the hub says of a file: large ones are named by SHA-256, small ones as git names them."""
    about = {"rfilename": path, "size": len(data), "blobId": blob(data)}
    if len(data) > 1000:
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {**about, "lfs": lfs}
    return about


def blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub():
    siblings = [sibling(path, data) for path, data in REPOSITORY.items()]
    info = {"id": REPO, "sha": COMMIT, "siblings": siblings}
    content = {f"/{REPO}/resolve/{COMMIT}/{path}": data for path, data in REPOSITORY.items()}
    content[f"/api/models/{REPO}/revision/main"] = json.dumps(info).encode()
    with serving(Files(content)) as served:
        yield served


class Windmill:
    """Runs `windmill models` with a cache and a hub of its own."""

    def __init__(self, hub, folder):
        self.folder = folder
        self.cache = folder / "cache"
        self.environment = {
            **os.environ,
            "WINDMILL_CACHE": str(self.cache),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "hf"),
            "HF_TOKEN": "hf_secret",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
        }

    def start(self, *words, name="log"):
        self.log, self.said = self.folder / f"{name}.txt", self.folder / f"{name}.out"
        command = [sys.executable, "-m", "windmill", "models", *words]
        with self.log.open("w") as log, self.said.open("w") as said:
            return subprocess.Popen(command, stdout=said, stderr=log, env=self.environment)

    def run(self, *words):
        status = self.start(*words).wait(PATIENCE)
        return status, self.said.read_text("utf-8"), self.log.read_text("utf-8")

    def part(self):
        """Bytes of the large file that have come."""
        path = self.cache / "downloads" / FOLDER / "model.safetensors.part"
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def windmill(hub, tmp_path):
    return Windmill(hub, tmp_path)


def weights_path():
    return f"/{REPO}/resolve/{COMMIT}/model.safetensors"


def held(hub, windmill, size):
    """A pull that hangs once `size` more bytes of the large file have come."""
    before = windmill.part()
    hub.holds[weights_path()] = size
    process = windmill.start("pull", "blip")
    until(lambda: windmill.part() >= before + size, PATIENCE, lambda: process.poll() is None, windmill.log)
    return process


def test_a_pull_that_was_interrupted_and_killed_goes_on(hub, windmill):
    process = held(hub, windmill, 3 << 20)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert "interrupted" in windmill.log.read_text("utf-8")
    process = held(hub, windmill, 2 << 20)
    process.kill()
    process.wait(PATIENCE)
    hub.asked.clear()
    hub.sent = 0
    status, said, log = windmill.run("pull", "blip", "--json")
    assert (status, json.loads(said)[0]["problems"]) == (0, []), log
    place = windmill.cache / FOLDER
    assert {path.name: path.read_bytes() for path in place.glob("[!.]*")} == {
        name: data for name, data in REPOSITORY.items() if name != "tf_model.h5"
    }
    ranges = [headers["Range"] for path, headers in hub.asked if path == weights_path()]
    assert ranges == [f"bytes={5 << 20}-"]
    asked = {headers.get("authorization") for path, headers in hub.asked if REPO in path}
    assert asked == {"Bearer hf_secret"}
    assert "hf_secret" not in said + log


def test_of_two_at_once_one_waits_for_the_other(hub, windmill):
    first = held(hub, windmill, 1 << 20)
    second = windmill.start("pull", "blip", name="second")
    waiting = windmill.log
    until(lambda: "another process is at it" in waiting.read_text("utf-8"), PATIENCE, log=waiting)
    hub.go_on.set()
    assert [process.wait(PATIENCE) for process in (first, second)] == [0, 0]
    assert len([path for path, _ in hub.asked if path == weights_path()]) == 1


def test_without_the_hub_it_says_what_to_put_where(hub, windmill):
    hub.content.clear()
    status, _, log = windmill.run("pull", "blip")
    assert status == 1
    assert f"from https://huggingface.co/{REPO}/tree/main, put *.json" in log
    assert "model.safetensors or pytorch_model.bin" in log
    assert str(windmill.cache / FOLDER) in log


def test_who_has_read_enough_is_not_told_of_a_broken_pipe():
    command = [sys.executable, "-m", "windmill", "models", "ls", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0
