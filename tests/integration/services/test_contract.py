"""The checks of `windmill services check`, against all services here but those of PyTorch: test_torch.py."""

import json

import pytest

from tests import made_services, promises
from windmill import cli
from windmill.services import registry

NAMES = [name for name in registry.SERVICES if name not in made_services.TORCH]


# Starlette leaves the file of a form that ends in its middle to the collector, which warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "check"), promises.asked(NAMES))
def test_our_services_keep_the_contract(served, name, check):
    """Of one detector all is asked; of the others not what only their door does, which is one for all."""
    promises.keeps(served.target(name), check)


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
