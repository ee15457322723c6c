"""A query becomes an answer."""

import numpy as np
import pytest

from tests import made_index
from windmill.core.where import parse
from windmill.errors import ConfigError, OtherEmbedder
from windmill.index.memory import MemoryStore
from windmill.index.searching import Query, Searcher
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering


def searcher(store=None, model=None, least=0.5, facts=None):
    model = model or made_index.Model()
    return Searcher(
        store=store or made_index.store(),
        asked=lambda: model,
        cutoff=lambda query, vector: least,
        facts=facts,
    )


def found(query, **options):
    return [hit.image_id for hit in searcher(**options)(query).hits]


def test_every_vector_finds_its_own_image_first():
    values = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    embedder = Embedder(service="made", name="random", version="1", dimension=8)
    store = MemoryStore(embedder)
    store.upsert(Vectors(ids=np.arange(200), paths=["x"] * 200, embeddings=values))
    model = made_index.Model(embedder)
    model.image = lambda name, data: values[int(data)]
    search = searcher(store, model)
    assert [search(Query(image=("x", b"%d" % n), most=1)).hits[0].image_id for n in range(200)] == [
        *range(200)
    ]


def test_words_and_an_image_meet_in_the_middle():
    answer = searcher()(Query(text="cat", image=("x", b"dog"), most=1))
    assert answer.hits[0].image_id == 3
    assert answer.best == pytest.approx((0.8 + 0.6) / 2**0.5)


def test_more_like_one_of_the_index_needs_no_model_and_leaves_it_out():
    model = made_index.Model()
    assert found(Query(like=1), model=model) == [3]
    assert model.texts == []
    assert found(Query(like=1, most=1, least=-1)) == [3]


def test_what_fits_nothing_says_the_best_score_and_the_cut_off():
    answer = searcher()(Query(text="submarine"))
    assert (answer.hits, answer.best, answer.least) == ((), 0.0, 0.5)
    assert len(searcher()(Query(text="submarine", least=-1)).hits) == 3


def test_a_condition_is_looked_for_within():
    class Facts:
        def matching(self, where, numbering):
            assert (where, numbering) == (parse("nsfw < 0.1"), Numbering.CONTENT)
            return np.array([2, 7])

    answer = searcher(facts=Facts())(Query(text="cat", where=parse("nsfw < 0.1"), least=-1))
    assert [hit.image_id for hit in answer.hits] == [2]
    assert answer.matching == 2


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(), "what is looked for"),
        (Query(text=" \n"), "what is looked for"),
        (Query(text="cat", like=1), "by itself"),
        (Query(text="cat", most=0), "1 to 10,000"),
        (Query(text="cat", most=10**9), "1 to 10,000"),
        (Query(like=10**20), f"--like {10**20}: expected an image's id"),
        (Query(like=-1), "--like -1: expected an image's id"),
        (Query(like=99), "image 99 is not in the index"),
        (Query(text="cat", where=parse("nsfw < 0.1")), "DB_HOST"),
    ],
)
def test_what_cannot_be_asked_is_said(query, said):
    with pytest.raises(ConfigError, match=said):
        searcher()(query)


def test_another_model_is_not_asked():
    other = Embedder(service="made", name="of words", version="2", dimension=4)
    with pytest.raises(OtherEmbedder, match=r"made \(of words 1, 4 dimensions\), and .* 2, 4"):
        searcher(model=made_index.Model(other))(Query(text="cat"))
