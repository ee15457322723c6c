"""How search is measured: on queries that are made here, by a model that is known."""

import json

import numpy as np
import pytest
from PIL import Image as Pictures

from windmill import cli
from windmill.commands import eval_search
from windmill.errors import ConfigError
from windmill.evaluating import search, truth
from windmill.evaluating.cutting import Scored, learned, told_right
from windmill.index.cutoffs import Rule
from windmill.index.vectors import Embedder

THINGS = ("cat", "cat", "dog", "dog")


class Model:
    """A photo's vector is that of the thing whose width it has; a text's that of the first thing in it."""

    embedder = Embedder(service="label_embedding", name="made", version="1", dimension=384)
    batch = 3

    def text(self, words):
        vector = np.zeros(384, np.float32)
        vector[next((n for n, thing in enumerate(("cat", "dog")) if thing in words.split()), 5)] = 1
        return vector

    def image(self, name, data):
        (vector,) = self.vectors([self.prepared(name, data)])
        return vector

    def prepared(self, name, data):
        return name.split("-")[0]

    def vectors(self, inputs):
        return [self.text(name) for name in inputs]


@pytest.fixture
def photos(tmp_path):
    entries = [
        {
            "file_name": f"{thing}-{n}.png",
            "captions": [f"a {thing} sits"],
            "objects": [{"label": thing, "bbox": [0, 0, 1, 1]}, {"label": "person", "bbox": [0, 0, 1, 1]}],
        }
        for n, thing in enumerate(THINGS)
    ]
    for entry in entries:
        Pictures.new("RGB", (4, 4)).save(tmp_path / entry["file_name"])
    (tmp_path / "photos.json").write_text(json.dumps(entries))
    return truth.photos(tmp_path)


def test_captions_find_their_photo_among_equals(photos):
    found = search.measure(Model(), photos)
    assert (found.photos, found.captions) == (4, 4)
    assert found.recall == {1: 0.5, 5: 1.0, 10: 1.0}  # two photos of each are alike
    assert found.kept == {"captions": 1, "objects": 1, "an image": 1, "words and an image": 1}
    assert found.hidden == {"a word": 1, "a sentence": 1, "an image": 1, "words and an image": 1}
    assert found.learned == pytest.approx(1)


def test_words_that_a_photo_shows_are_not_asked_for_as_absent(photos):
    asked = search.queries(photos)
    absent = {one.text for one in asked if one.own is None}
    assert {"a volcano", "an airliner", "a photo of a volcano in a city"} <= absent
    assert not any("cat" in text.split() or "dog" in text.split() for text in absent)
    assert [one.text for one in asked if one.kind == "objects"] == ["a cat", "a dog"]


def test_photos_without_captions_are_told(photos):
    with pytest.raises(ConfigError, match="captions and objects"):
        search.queries([truth.Known(one.path, one.objects, ()) for one in photos])


def scored(best, near, *, fits):
    return Scored(kind=str(fits), fits=fits, best=best, least=0.0, near=near, group=0)


def test_a_rule_is_learned_that_a_constant_is_none_for():
    """A short text scores 0.5 though nothing fits, a long one 0.4 where something does."""
    known = [
        scored(0.4, 0.0, fits=True), scored(0.8, 0.2, fits=True),
        scored(0.1, 0.0, fits=False), scored(0.5, 0.2, fits=False),
    ]  # fmt: skip
    assert told_right(known, learned(known)) == 1
    assert told_right(known, Rule(0.45)) == 0.5


def test_the_command_says_what_it_measured(photos, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(eval_search, "InProcess", lambda name: Model())
    words = ["eval", "search", "--data", str(tmp_path), "--service", "label_embedding"]
    page = tmp_path / "search.md"
    assert cli.main([*words, "--document", str(page)]) == 0
    assert "recall@10" in capsys.readouterr().out
    assert "| label_embedding | captions | 1.000 |  |" in page.read_text("utf-8")
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["recall"]["1"] == 0.5
