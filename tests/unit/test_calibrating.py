"""What is learned about voters, from voters that are made up here."""

import math
import random

import pytest

from tests.unit.test_voting import reply
from windmill.calibrating.votes import Example, Ideas, examples, learn
from windmill.core.calibrated import probability, weights
from windmill.errors import ConfigError

COUNT = 4000


def made(seen, count=COUNT):
    """Examples of one label, true every other time; `seen(true, chance)` says who named it how surely."""
    chance = random.Random(0)  # noqa: S311 -- no secret
    for n in range(count):
        true = chance.random() < 0.5
        if said := seen(true, chance):
            yield Example(
                image=str(n),
                label="🚗",
                said=said,
                looked=dict.fromkeys(["good", "bad"], frozenset()),
                true=true,
            )


def planted(true, chance):
    """good names 9 of 10 cars and 1 of 10 others; bad 6 and 4; both always say 0.5."""
    odds = {"good": 0.9 if true else 0.1, "bad": 0.6 if true else 0.4}
    return {name: 0.5 for name, share in odds.items() if chance.random() < share}


def test_planted_voters_are_recovered():
    """Two voters that err by themselves: their words and silences are worth their likelihood ratios."""
    voters = learn(made(planted), Ideas(together=False))
    good, bad = voters.known["good"], voters.known["bad"]
    assert good.said - good.silent == pytest.approx(2 * math.log(9), abs=0.3)
    assert bad.said - bad.silent == pytest.approx(2 * math.log(1.5), abs=0.3)
    both = {"good": 0.5, "bad": 0.5}
    looked = dict.fromkeys(both, frozenset())
    assert probability(weights("🚗", both, looked, voters)) == pytest.approx(
        9 * 1.5 / (9 * 1.5 + 1), abs=0.03
    )


def test_a_voter_alone_is_calibrated():
    """It says 0.6 and is right 9 times of 10, 0.9 and is always right but once in a hundred."""

    def surer(true, chance):
        return {"good": 0.9 if chance.random() < (0.6 if true else 0.055) else 0.6}

    found = learn(made(surer))
    for confidence in (0.6, 0.9):
        own = [one.true for one in made(surer) if one.said["good"] == confidence]
        told = probability(weights("🚗", {"good": confidence}, {"good": frozenset()}, found))
        assert told == pytest.approx(sum(own) / len(own), abs=0.03)


def test_voters_that_repeat_each_other_count_once():
    """bad always says what good says: asked together they are worth what good is worth alone."""

    def echoed(true, chance):
        said = planted(true, chance)
        both = {"good": 0.5, "bad": 0.5} if "good" in said else {}
        return {name: both[name] for name in both if chance.random() < 0.9}

    found = learn(made(echoed))
    told = probability(
        weights("🚗", {"good": 0.5, "bad": 0.5}, dict.fromkeys(["good", "bad"], frozenset()), found)
    )
    assert told == pytest.approx(0.9, abs=0.03)


def test_who_said_little_is_near_the_average_voter():
    """Five errors do not make a voter worthless, five hundred do."""
    extra = [
        Example(image=f"rare {n}", label="🚗", said={"rare": 0.5}, looked={"rare": frozenset()}, true=False)
        for n in range(5)
    ]
    told = [
        probability(
            weights("🚗", {"rare": 0.5}, {"rare": frozenset()}, learn([*made(planted), *extra * times]))
        )
        for times in (1, 100)
    ]
    assert told[0] > 4 * told[1]
    assert told[1] < 0.02


def test_the_order_of_examples_is_nothing():
    given = list(made(planted, 300))
    assert learn(given) == learn(reversed(given))


def test_too_little_is_told():
    with pytest.raises(ConfigError, match="too little"):
        learn(made(planted, 20))


def test_what_nobody_can_judge_is_no_example_and_fewer_voters_are_learned_from_too():
    heard = [reply("yolov8", "🚗", "🌊"), reply("ssdlite", "🚗")]
    made_of = examples("7", heard, frozenset({"🚗"}), frozenset({"🚗", "🐕"}))
    assert {one.label for one in made_of} == {"🚗"}
    assert [sorted(one.looked) for one in made_of if one.whole] == [["ssdlite", "yolov8"]]
    assert {len(one.looked) for one in made_of if not one.whole} == {1}
    assert made_of == examples("7", heard[::-1], frozenset({"🚗"}), frozenset({"🚗", "🐕"}))
