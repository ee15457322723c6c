"""Search by meaning without CLIP, with real models: MiniLM over the labels of classifier and detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage

from windmill.core.nearest import nearest
from windmill.engines.in_process import InProcess
from windmill.index.cutoffs import Cutoffs
from windmill.index.memory import MemoryStore
from windmill.index.searching import Query, Searcher
from windmill.index.vectors import Vectors
from windmill.services import door, registry
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT

PHOTOS = Path(skimage.__file__).parent / "data"
COCO = Path(__file__).parents[4] / "shared/data/coco-photos"
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")

# What sentence-transformers 6.2 computes with PyTorch: the first five of 384 numbers.
REFERENCE = {
    "a cat sleeping on a sofa": (0.1566, -0.06857, -0.05353, 0.03875, -0.00175),
    "quarterly tax report": (0.0056, 0.06624, -0.01029, 0.00315, -0.03638),
    "Ein Ärger — naïve café! " * 60: (-0.03456, -0.00017, -0.00594, 0.00767, 0.00421),  # cut after 256 tokens
    "": (-0.11884, 0.0483, -0.00255, -0.01101, 0.05195),
}


@pytest.fixture(scope="module")
def model():
    return registry.load("label_embedding")


def vector(model, path, asked):
    return model.tasks[path].alone(asked)["embedding"]


def photo(path):
    return door.photo(path.name, path.read_bytes())


@pytest.fixture(scope="module")
def stored(model):
    return {name: vector(model, ANALYZE, photo(PHOTOS / name)) for name in NAMES}


def test_texts_get_the_vectors_of_sentence_transformers_in_any_batch(model):
    found = model.tasks[EMBED_TEXT].predict(list(REFERENCE))
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert np.array(found)[:, :5] == pytest.approx(np.array(list(REFERENCE.values())), abs=2e-5)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("a kitten's face", "chelsea.png"),
        ("a hot drink", "coffee.png"),
        ("going to space", "rocket.jpg"),
        ("a motorbike in a garage", "motorcycle_left.png"),
        ("somebody in a suit", "astronaut.png"),
    ],
)
def test_words_find_the_photo_that_they_mean(model, stored, query, name):
    assert nearest(vector(model, EMBED_TEXT, query), stored, 1)[0][0] == name


def test_what_no_photo_shows_does_not_fit(stored):
    model = InProcess("label_embedding")
    store = MemoryStore(model.embedder)
    embeddings = np.array(list(stored.values()), np.float32)
    store.upsert(Vectors(ids=np.arange(len(stored)), paths=list(stored), embeddings=embeddings))
    search = Searcher(store=store, asked=lambda: model, cutoff=Cutoffs(model.embedder, lambda: model))
    asked = ("a cat", "a cup of coffee on a table", "a submarine", "a red car")
    assert [bool(search(Query(text=text)).hits) for text in asked] == [True, True, False, False]


def test_what_the_pipeline_stores_holds_the_vector_and_why(model, stored):
    cat = photo(PHOTOS / "chelsea.png")
    reply = model.tasks[ANALYZE].alone(cat)
    assert reply["predictions"] == []
    assert reply["dimension"] == len(reply["embedding"]) == 384
    assert reply["labels"][0]["label"] in ("cat", "Egyptian Mau", "tabby cat")
    assert reply["labels"] == sorted(reply["labels"], key=lambda one: -one["confidence"])
    assert vector(model, EMBED_IMAGE, cat) == reply["embedding"] == stored["chelsea.png"]


def test_captions_find_their_photo(model):
    """A quarter of the photos, so that it takes seconds; bench/search.py asks for all."""
    if not COCO.is_dir():
        pytest.skip(f"no photos in {COCO}")
    told = json.loads((COCO / "photos.json").read_text("utf-8"))[::4]
    stored = {one["file_name"]: vector(model, EMBED_IMAGE, photo(COCO / one["file_name"])) for one in told}
    queries = model.tasks[EMBED_TEXT].predict([one["captions"][0] for one in told])
    found = [[name for name, _ in nearest(query, stored, 3)] for query in queries]
    hits = [one["file_name"] in names for one, names in zip(told, found, strict=True)]
    assert np.mean(hits) >= 0.8
