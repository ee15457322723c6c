"""A tenth of `make chaos`: quick cases with few images, through the same code; Ctrl-C ends it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from chaos.cases import CASES, QUICK
from chaos.running import Harness
from chaos.site import opened
from tests.servers.base import MissingServerError
from tests.waiting import until

ROOT = Path(__file__).parents[2]
IMAGES, HOLD = 24, 1.0
BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def harness():
    try:
        with opened(IMAGES) as site:
            yield Harness(site, HOLD)
    except MissingServerError as exc:
        if os.environ.get("CI"):
            pytest.fail(str(exc))
        pytest.skip(str(exc))


@pytest.mark.parametrize(("name", "broker"), QUICK)
def test_nothing_is_lost_duplicated_or_wrong(harness, name, broker):
    line = harness.run(BY_NAME[name], broker)
    assert (line.lost, line.duplicated, line.wrong) == (0, 0, 0), line


def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path):
    words = ["-m", "chaos", "--only=service-down", "--broker=postgres", "--images=10", "--hold=100"]
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stderr=file, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
    ours = psutil.Process(process.pid)
    try:
        until(lambda: any(map(_works, ours.children())), 150, lambda: process.poll() is None, log)
        family = ours.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait()
    until(lambda: not any(one.is_running() for one in family), 60)
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]


def _works(process):
    """Whether it is a worker, and not a command that may have ended since it was listed."""
    try:
        return "work" in process.cmdline()
    except psutil.Error:
        return False
