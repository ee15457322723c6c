"""`windmill models`: what it says of weights, and how it ends."""

import argparse
import hashlib
import json

import pytest

from windmill import settings
from windmill.commands import models as command
from windmill.errors import ConfigError
from windmill.services import registry
from windmill.services.weights import entries, manifest, store
from windmill.services.weights.entries import Entry, File, Source

MODEL = b"weights" * 20_000


def of(name, source, files):
    return Entry(
        name=name, source=source, version="1", licence="MIT", download_mb=3, good_for="tests", files=files
    )


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    """A cache where `face` is whole, `pose` has one of two files, and the user's own is missing."""
    monkeypatch.setenv("WINDMILL_CACHE", str(tmp_path / "cache"))
    known = File(sha256=hashlib.sha256(MODEL).hexdigest(), bytes=len(MODEL))
    listed = [
        of("face", Source("pypi", "faces"), {"f/face.onnx": known}),
        of("pose", Source("npm", "poses"), {"a.bin": known, "b.bin": known}),
        of("mine", Source("file", "a file of yours"), {"*": File(sha256=None, bytes=None)}),
    ]
    for module in (entries, store):
        monkeypatch.setattr(module, "manifest", lambda: {one.name: one for one in listed})
    monkeypatch.setattr("windmill.commands.models.manifest", entries.manifest)
    for place in ("faces-1/f/face.onnx", "poses-1/a.bin"):
        path = tmp_path / "cache" / place
        path.parent.mkdir(parents=True)
        path.write_bytes(MODEL)
    return tmp_path / "cache"


def models(capsys, *words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    try:
        status, error = command.run(parser.parse_args(words), settings.Settings()), ""
    except ConfigError as exc:
        status, error = 2, str(exc)  # as `cli` does
    said = capsys.readouterr()
    return status, said.out, said.err + error


def test_the_list_says_what_is_here_and_who_needs_it(cached, capsys):
    status, said, _ = models(capsys, "ls", "--json")
    listed = {one["name"]: one for one in json.loads(said)}
    assert status == 0
    assert {name: one["present"] for name, one in listed.items()} == {
        "face": True,
        "pose": False,
        "mine": False,
    }
    assert listed["face"]["bytes"] == len(MODEL)
    assert listed["face"]["source"] == {"pypi": "faces"}
    assert listed["face"]["services"] == [
        name for name, service in registry.SERVICES.items() if "face" in service.weights
    ]


def test_the_list_for_people_names_all_and_their_folder(cached, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, said, _ = models(capsys, "ls")
    assert all(
        word in said for word in ("face", "pose", "mine", "0.1 MB", "pypi faces 1", "MIT", str(cached))
    )


def test_the_path_is_one_line_for_scripts(cached, capsys):
    assert models(capsys, "path", "face") == (0, f"{cached}/faces-1/f/face.onnx\n", "")
    (cached / "poses-1/b.bin").write_bytes(MODEL)
    assert models(capsys, "path", "pose")[1] == f"{cached}/poses-1\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["path", "pose"], 2, "pose: not here; `windmill models pull pose`"),
        (["path"], 2, "which model"),
        (["pull"], 2, "which models"),
        (["pull", "face", "fcae"], 2, "fcae: no model of that name"),
        (["pull", "mine"], 1, "yours to bring: a file of yours"),
        (["add", "mine"], 2, "add NAME PATH"),
        (["add", "mine", "/no/such"], 2, "/no/such: no such file"),
        (["verify", "mine"], 1, "is missing; `windmill models add mine PATH`"),
    ],
)
def test_what_cannot_be_done_is_said(cached, capsys, words, status, said):
    ended, _, complaint = models(capsys, *words)
    assert ended == status
    assert said in complaint


def test_pull_takes_what_is_here_and_goes_on_after_a_failure(cached, capsys):
    status, said, complaint = models(capsys, "pull", "mine", "face")
    assert status == 1
    assert said == f"face: 0.1 MB in {cached}/faces-1\n"
    assert "windmill models: mine: " in complaint


def test_verify_looks_at_all_that_is_here(cached, capsys):
    status, said, complaint = models(capsys, "verify")
    assert status == 1
    assert said.startswith("face: ")
    assert f"{cached}/poses-1/b.bin: is missing; delete" in complaint
    (cached / "poses-1/b.bin").write_bytes(MODEL)
    assert models(capsys, "verify")[0] == 0
    (cached / "poses-1/b.bin").write_bytes(MODEL[::-1])
    status, said, _ = models(capsys, "verify", "--json")
    problems = {one["name"]: one["problems"] for one in json.loads(said)}
    assert status == 1
    assert "sha256 is" in problems["pose"][0]
    assert problems["face"] == []


def test_an_emptied_file_is_noticed_without_being_named(cached, capsys):
    (cached / "faces-1/f/face.onnx").write_bytes(b"")
    status, _, said = models(capsys, "verify")
    assert status == 1
    assert "face.onnx: it has 0 bytes" in said


def test_what_a_user_adds_is_copied_and_known(cached, capsys, tmp_path):
    (tmp_path / "best.onnx").write_bytes(MODEL)
    assert models(capsys, "add", "mine", str(tmp_path / "best.onnx"))[0] == 0
    (tmp_path / "best.onnx").unlink()
    assert models(capsys, "path", "mine")[1] == f"{cached}/mine-own/best.onnx\n"
    assert models(capsys, "add", "mine", f"{cached}/mine-own/best.onnx")[0] == 2
    assert models(capsys, "verify", "mine")[0] == 0


def test_all_is_all_that_need_not_be_brought(monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(
        "windmill.commands.models.fetch", lambda name: fetched.append(name) or store.known(name)
    )
    assert models(capsys, "pull", "all")[0] == 0
    assert fetched == ["face", "pose"]


def test_the_real_manifest_is_whole():
    assert all(one.licence and one.good_for and one.files for one in manifest().values())
