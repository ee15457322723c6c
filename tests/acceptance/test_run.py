"""`windmill run`: one command, nothing set up, nothing done twice, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest
import skimage
from PIL import Image as Pictures

from tests.waiting import until
from windmill.embedded import data_home

ROOT = Path(__file__).parents[2]
DATA = Path(skimage.__file__).parent / "data"
PATIENCE = 300.0


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "chelsea.png", "coffee.png"):
        shutil.copyfile(DATA / name, folder / name)
    yield folder
    shutil.rmtree(data_home(tmp_path / "data"), ignore_errors=True)


def command(photos, *words):
    return [
        sys.executable,
        "-m",
        "windmill",
        "run",
        str(photos),
        "--data",
        str(photos.parent / "data"),
        *words,
    ]


def run(photos, *words, status=0):
    done = subprocess.run(
        command(photos, *words),
        cwd=photos.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def left_behind(photos):
    data = str(data_home(photos.parent / "data"))
    return [p for p in psutil.process_iter(["cmdline"]) if data in " ".join(p.info["cmdline"] or [])]


def tear_tiff(path):
    """A photo whose header is whole: only who converts it finds that the rest is not."""
    Pictures.open(DATA / "rocket.jpg").save(path)
    path.write_bytes(path.read_bytes()[:20_000])


def test_a_folder_goes_through_and_again_does_nothing_twice(photos):
    first = run(photos)
    assert "person" in first.stdout
    assert "cat" in first.stdout
    assert first.stdout.count("SELECT") == 3
    pictures = data_home(photos.parent / "data") / "pictures"
    assert len(list(pictures.glob("*.jpg"))) == 3
    assert "astronaut.png" in (pictures / "index.html").read_text("utf-8")
    assert left_behind(photos) == []

    (photos / "torn.jpg").write_bytes((DATA / "rocket.jpg").read_bytes()[:20_000])
    tear_tiff(photos / "torn.tif")
    (photos / "text.jpg").write_text("no image", "utf-8")
    second = run(photos, "--json", status=1)
    found = {one["filename"]: one for one in json.loads(second.stdout)}
    assert set(found) == {"astronaut.png", "chelsea.png", "coffee.png", "torn.tif"}
    assert found["astronaut.png"]["votes"][0] == ["🧑", "person", 3]
    assert "damaged" in found["torn.tif"]["errors"][0]
    assert "torn.jpg: damaged" in second.stderr
    assert "text.jpg: not an image" in second.stderr

    third = run(photos, status=1)
    assert "nothing was done twice" in third.stdout


def test_ctrl_c_ends_everything_and_the_next_run_goes_on(photos):
    process = subprocess.Popen(
        command(photos),
        cwd=photos.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    data = data_home(photos.parent / "data")
    until(lambda: (data / "logs" / "consensus.log").is_file() or process.poll() is not None, PATIENCE)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert left_behind(photos) == []
    assert "cat" in run(photos).stdout


def test_a_folder_that_is_not_there_is_named(tmp_path):
    done = run(tmp_path / "nowhere", status=2)
    assert "no such folder" in done.stderr
    assert "Traceback" not in done.stderr
