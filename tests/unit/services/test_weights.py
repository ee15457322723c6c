"""Weights: pinned, verified, and said where to put when they cannot be fetched."""

import hashlib
import subprocess

import pytest

from windmill.errors import ConfigError
from windmill.services import coco, registry, weights
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


def test_a_conversion_is_made_once(cached):
    put(cached, b"weights")
    made = []
    paths = {weights.derived("small", "recipe", lambda _: made.append(1) or b"onnx") for _ in range(2)}
    assert len(made) == len(paths) == 1


def test_every_model_has_an_entry_and_a_port():
    assert set(weights.manifest()) <= set(registry.MODELS)
    assert all(registry.port(name) for name in registry.MODELS)
    digests = [value for source in weights.manifest().values() for value in source.files.values()]
    assert all(len(value) == 64 for value in digests)


def test_every_coco_class_has_an_emoji_of_its_own():
    assert len(coco.classes()) == len({emoji for _, emoji in coco.classes()}) == 80
    assert coco.classes()[coco.from_90()[90]] == ("toothbrush", "🪥")
