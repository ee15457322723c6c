"""An index whose writer or merger is killed at any step is as it was, or as it was to become."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.killing import Silent, act, state
from windmill.index.files import create, merge, open_index
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering

EMBEDDER = Embedder(service="clip", name="ViT-B-32", version="1", dimension=8)


def vectors(ids, seed):
    embeddings = np.random.default_rng(seed).standard_normal((len(ids), 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Vectors(
        ids=np.array(ids, np.int64), paths=[f"/{seed}/{n}.jpg" for n in ids], embeddings=embeddings
    )


@pytest.fixture
def prefix(tmp_path):
    """An index with merged files, segments that replace some of it, and a deleted image."""
    prefix = tmp_path / "photos"
    store = create(prefix, EMBEDDER, Numbering.CONTENT)
    store.upsert(vectors(range(300), 1))
    merge(prefix, Silent())
    store.upsert(vectors(range(200, 400), 2))
    store.delete(np.array([7], np.int64))
    return prefix


def deaths(prefix, what):
    """For each death: what the index was afterwards, and after the work was done again."""
    command = [sys.executable, "-m", "tests.killing", str(prefix), what]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_json(found):
    return json.loads(json.dumps(found))


def test_a_merge_that_is_killed_at_any_step_loses_and_doubles_nothing(prefix):
    expected = as_json(state(prefix))
    assert expected["count"] == 399
    found = deaths(prefix, "merge")
    assert len(found) > 10
    for after_death, after_all in found:
        assert after_death == expected
        assert after_all == expected


def test_a_segment_is_there_as_a_whole_or_not_at_all(prefix):
    before = as_json(state(prefix))
    found = deaths(prefix, "upsert")
    act("upsert", prefix)
    after = as_json(state(prefix))
    assert after["count"] == before["count"] + 1
    assert len(found) > 5
    for after_death, after_all in found:
        assert after_death in (before, after)
        assert after_all == after
    assert [one for one, _ in found].count(before) >= 3


def test_what_was_there_can_be_searched_while_it_is_merged(prefix):
    store = open_index(prefix)
    asked = vectors(range(200, 400), 2).embeddings[5]

    class Looking:
        looks = 0

        def update(self, done, total=None):
            self.looks += 1
            assert store.search(asked, 1)[0].image_id == 205
            assert store.count() == 399

    looking = Looking()
    merge(prefix, looking)
    assert looking.looks > 0
    assert store.search(asked, 1)[0].image_id == 205
