"""`windmill services check`: what it wants to know, and what it says when nobody answers."""

import json

import pytest

from windmill import cli
from windmill.checking import table


@pytest.fixture(autouse=True)
def no_catalog(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "service_config.json"


def check(*words, capsys):
    status = cli.main(["services", "check", *words])
    return status, capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which service? URL --as NAME"),
        (["localhost:1"], "which service? URL --as NAME"),
        (["localhost:1", "--as", "birds"], "--as birds: neither in service_config.json nor one of blip, "),
        (["localhost:1", "--as", "consensus"], "--as consensus: neither"),
        (
            ["localhost:1", "--as", "index_clip"],
            "--as index_clip: that is a worker; the service that it calls is clip",
        ),
        (["https://localhost:1", "--as", "yolov8"], "workers call services by http"),
        (["http://localhost:port", "--as", "yolov8"], "http://localhost:port: "),
        (
            ["localhost:1", "--as", "yolov8", "--only", "shapes"],
            "--only shapes: no such check; there are health",
        ),
        (["localhost:1", "--as", "yolov8", "--timeout", "0"], "--timeout: expected seconds"),
        (["localhost:1", "--as", "yolov8"], "localhost:1: nobody answers there: no connection"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, said, capsys):
    status, (out, err) = check(*words, capsys=capsys)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_the_catalog_may_name_the_service(no_catalog, capsys):
    no_catalog.write_text(json.dumps({"birds": {"port": 1, "service_type": "spatial"}}))
    assert "nobody answers" in check("localhost:1", "--as", "birds", capsys=capsys)[1].err


def test_the_list_says_what_every_check_is_good_for(capsys):
    status, (out, _) = check("--list", capsys=capsys)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [one.name for one in table.CHECKS]
    assert all("otherwise" in line for line in out.splitlines())


def test_a_photo_that_is_none_is_named(tmp_path, capsys):
    (tmp_path / "x.jpg").write_bytes(b"no photo")
    status, (_, err) = check("localhost:1", "--as", "yolov8", "--photo", "x.jpg", capsys=capsys)
    assert status == 1
    assert "x.jpg: not an image" in err
