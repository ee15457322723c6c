"""The least score that fits a query."""

import numpy as np
import pytest

from windmill.index.cutoffs import EVERYTHING, RULES, Cutoffs, Kind, kind
from windmill.index.searching import Query
from windmill.index.vectors import Embedder

IMAGE = ("x.jpg", b"...")


def embedder(service="label_embedding", dimension=384):
    return Embedder(service=service, name="n", version="1", dimension=dimension)


class Model:
    """All words lie in one direction."""

    asked = 0

    def text(self, words):
        self.asked += 1
        return np.eye(1, 384, dtype=np.float32)[0]


def direction(share):
    """A vector of length 1 whose cosine with all words is `share`."""
    vector = np.zeros(384, np.float32)
    vector[:2] = share, (1 - share**2) ** 0.5
    return vector


def test_what_is_near_to_all_words_must_score_more():
    model = Model()
    cutoff = Cutoffs(embedder(), lambda: model)
    rule = RULES["label_embedding", 384][Kind.WORDS]
    assert cutoff(Query(text="a long text"), direction(0.0)) == pytest.approx(rule.least)
    assert cutoff(Query(text="word"), direction(0.25)) == pytest.approx(rule.least + 0.25 * rule.slope)
    assert model.asked == 20  # once for all queries


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(text="a"), Kind.WORDS),
        (Query(text=" ", image=IMAGE), Kind.IMAGE),
        (Query(like=4), Kind.IMAGE),
        (Query(text="a", image=IMAGE), Kind.BOTH),
    ],
)
def test_queries_are_of_three_kinds(query, expected):
    assert kind(query) is expected


def test_images_have_a_cut_off_of_their_own_which_asks_no_model():
    cutoff = Cutoffs(embedder(), lambda: pytest.fail("no model is needed"))
    assert cutoff(Query(like=1), direction(0.3)) == RULES["label_embedding", 384][Kind.IMAGE].least


@pytest.mark.parametrize(
    ("service", "dimension", "query"),
    [("clip", 768, Query(text="a")), ("clip", 512, Query(like=1)), ("mine", 384, Query(text="a"))],
)
def test_where_nobody_measured_everything_fits(service, dimension, query):
    cutoff = Cutoffs(embedder(service, dimension), lambda: pytest.fail("no model is needed"))
    assert cutoff(query, np.zeros(dimension, np.float32)) == EVERYTHING
