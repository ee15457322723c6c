"""The checks of `windmill services check`, each against every service here."""

import json

import pytest

from windmill import catalog, cli
from windmill.checking import shapes, table
from windmill.services import registry

# What a check may leave out, and why; anything else that is skipped would hide a broken promise.
NOT_HERE = (
    "only caption_score takes a caption",
    "it has no /embed/image",
    "its replies hold no boxes",
    "its replies say nothing of places",
    "nothing is promised of a service called",
    "only beside /v3/analyze",
)
UNTRAINED = ("clip",)  # unless its weights are here: what it sees means nothing
CLASSIFIERS = ("clip", "xception")
BOXES = ("boxes-inside", "boxes-scale")


def _may_skip(name, check):
    """Where nobody says what such a service's replies hold, it has no boxes, or it was never trained."""
    if shapes.promised(catalog.facts(name)) is None:
        return check in (*BOXES, "orientation")
    if name in UNTRAINED and check in ("shape", "orientation"):
        return True
    return name in CLASSIFIERS and check in BOXES


# Starlette leaves the file of a form that ends in its middle to the collector, which warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("check", table.CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("name", registry.SERVICES)
def test_our_services_keep_the_contract(served, name, check):
    target = _target(served, name)
    result = table.made(check, target)
    if result.outcome == table.SKIPPED:
        assert _may_skip(name, check.name) or result.said.startswith(NOT_HERE), result.said
        assert (name, check.name) != ("clip", "embeddings"), result.said
    else:
        assert result.outcome == table.PASSED, result.said


_targets = {}


def _target(served, name):
    """One for all checks of a service: it keeps the first reply."""
    if name not in _targets:
        _targets[name] = served.target(name)
    return _targets[name]


def check_command(*words, capsys):
    status = cli.main(["services", "check", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_tells_what_each_check_saw_and_sums_up(served, capsys):
    url = f"http://127.0.0.1:{served.port('nanodet')}"
    status, out, _ = check_command(
        url, "--as", "nanodet", "--only", "reply", "--only", "unknown-path", capsys=capsys
    )
    first, second, last = out.splitlines()
    assert status == 0
    assert first.split()[:2] == ["passed", "reply"]
    assert "predictions" in first
    assert second.split() == ["passed", "unknown-path", "404"]
    assert last == f"{url}/v3/analyze as nanodet: 2 passed, 0 failed, 0 skipped"


def test_a_failed_check_says_what_was_sent_and_what_becomes_of_it(served, capsys):
    url = f"127.0.0.1:{served.port('colors')}"
    status, out, _ = check_command(url, "--as", "yolov8", "--only", "shape", capsys=capsys)
    assert status == 1
    assert "sent POST /v3/analyze with a photo; expected predictions[0].label: text; got None" in out
    assert "otherwise merging, voting and search do not find" in out


def test_a_program_reads_the_same(served, capsys, tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(served.target("face").photo.jpeg)
    url = f"http://127.0.0.1:{served.port('face')}/analyze"
    words = (url, "--as", "clip", "--json", "--photo", str(photo), "--only", "shape")
    status, out, _ = check_command(*words, capsys=capsys)
    document = json.loads(out)
    assert (status, document["url"], document["as"], document["failed"]) == (1, url, "clip", 1)
    (check,) = document["checks"]
    assert (check["name"], check["outcome"], check["got"]) == ("shape", "failed", "None")
    assert check["expected"].startswith("full_image: a list")
