"""`windmill run --find`: what is said where words and photos cannot be compared."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from windmill import lineup
from windmill.commands import run
from windmill.errors import ConfigError
from windmill.settings import Settings


@pytest.fixture
def place(monkeypatch):
    """A run whose search service takes every text for the same direction."""
    said = json.dumps({"status": "success", "embedding": [0.6, 0.8], "dimension": 2}).encode()
    caller = SimpleNamespace(healthy=lambda: True, embed_text=lambda _: said)
    monkeypatch.setattr(run, "HttpService", lambda *_, **__: caller)
    return run.Place(Path(), Settings(), None, Console(), {lineup.SEARCHER: {"port": 7797}})


def holding(**stored):
    return SimpleNamespace(embeddings=lambda *_: stored)


def test_the_nearest_photos_are_found(place):
    found = place.search(holding(a=(1.0, 0.0), b=(0.0, 1.0)), "photos", ["a dog"])
    assert [name for name, _ in found["a dog"]] == ["b", "a"]


def test_photos_that_another_model_embedded_are_said_to_be(place):
    with pytest.raises(ConfigError, match="windmill rerun --service label_embedding --stale"):
        place.search(holding(a=(1.0, 0.0, 0.0)), "photos", ["a dog"])
