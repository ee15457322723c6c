"""The calibrated consensus: probabilities that one can follow by hand."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_voting import merged, reply
from windmill.core import calibrated, documents
from windmill.core.calibrated import ANY_LABEL, THIS_LABEL, identity, probability, vote, weights
from windmill.model import Voter, Voters


def voter(said=1.0, slope=1.0, silent=-1.0, *labels):
    return Voter(
        said=said,
        slope=slope,
        silent=silent,
        least=0.1,
        most=0.9,
        count=9,
        right=0.5,
        labels=frozenset(labels),
    )


SURE = voter(2.0, 1.5, -2.0, "🚗", "🐕")
WEAK = voter(0.5, 0.5, -0.5, "🚗")
VOTERS = Voters(
    prior=-1.0,
    together=0.5,
    average=voter(1.0, 1.0, -1.0),
    known={"yolov8": SURE, "ssdlite": WEAK},
    labels={"🚗": 0.5},
)
NOBODY = frozenset()


def chance(label, said, looked=None, voters=VOTERS):
    known = (
        dict.fromkeys(said if looked is None else looked, NOBODY) if not isinstance(looked, dict) else looked
    )
    return probability(weights(label, said, known, voters))


def ranking(*replies, boxes=(), voters=VOTERS):
    return {one.emoji: one for one in vote(replies, boxes, voters, "calibrated").votes}


def test_evidence_adds_up():
    """yolov8 says 🚗 with 0.8, ssdlite knows it and is silent: two were heard, so each counts 1/√2."""
    parts = weights("🚗", {"yolov8": 0.8}, {"yolov8": NOBODY, "ssdlite": NOBODY}, VOTERS)
    expected = {
        ANY_LABEL: -1.0,
        THIS_LABEL: 0.5,
        "ssdlite": -0.5 / math.sqrt(2),
        "yolov8": (2.0 + 1.5 * math.log(4)) / math.sqrt(2),
    }
    assert parts == pytest.approx(expected)
    assert probability(parts) == pytest.approx(1 / (1 + math.exp(-sum(expected.values()))))


def test_the_document_says_who_moved_it():
    heard = [reply("yolov8", "🚗"), reply("ssdlite")]
    said = json.loads(documents.consensus(vote(heard, [], VOTERS, identity(VOTERS))))
    (car,) = said["votes"]["consensus"]
    assert said["consensus_algorithm"].startswith("calibrated 1 ")
    assert (car["votes"], car["final_score"], car["evidence"]["specialized"]) == (1, 2, None)
    assert car["probability"] == pytest.approx(
        1 / (1 + math.exp(-math.fsum(car["weights"].values()))), abs=1e-3
    )
    assert list(car["weights"]) == [ANY_LABEL, THIS_LABEL, "ssdlite", "yolov8"]


def test_what_is_improbable_does_not_stand_and_the_rest_is_ranked_by_probability():
    """Log-odds of 🚗, of two voters: -0.5 + (2.5 + 2 ln 9)/√2. Of 🐕: -1 + 2 + 1.5 ln 9. Of 🧑, from ssdlite
    alone: -1 + 0.5 + 0.5 ln 1.5, which is below 0."""
    weak = reply("ssdlite", "🚗", full=["🧑"])
    found = ranking(reply("yolov8", "🚗", "🐕"), weak)
    odds = {"🚗": -0.5 + (2.5 + 2 * math.log(9)) / math.sqrt(2), "🐕": 1 + 1.5 * math.log(9)}
    assert list(found) == list(odds)
    assert [one.probability for one in found.values()] == [
        pytest.approx(1 / (1 + math.exp(-one)), abs=1e-4) for one in odds.values()
    ]


def test_boxes_on_which_services_agree_are_shown_and_have_no_vote():
    heard, box = [reply("yolov8", "🚗"), reply("ssdlite", "🚗")], merged("🚗", "yolov8", "ssdlite")
    with_box, without = ranking(*heard, boxes=[box])["🚗"], ranking(*heard)["🚗"]
    assert (with_box.boxes, without.boxes) == ((box,), ())
    assert (with_box.probability, with_box.weights) == (without.probability, without.weights)


def test_a_voter_that_does_not_know_a_label_does_not_lower_it():
    alone = chance("🐕", {"yolov8": 0.8})
    assert chance("🐕", {"yolov8": 0.8}, ["yolov8", "ssdlite", "stranger"]) == alone
    assert chance("🐕", {"yolov8": 0.8}, {"yolov8": NOBODY, "stranger": frozenset({"🐕"})}) < alone


def test_a_service_knows_the_labels_of_its_vocabulary():
    stranger = reply("rtdetr")
    knowing = replace(stranger, reply=replace(stranger.reply, knows=frozenset({"dog"})))
    assert "rtdetr" not in dict(ranking(reply("yolov8", "🐕"), stranger)["🐕"].weights)
    assert dict(ranking(reply("yolov8", "🐕"), knowing)["🐕"].weights)["rtdetr"] < 0


def test_a_stranger_counts_as_the_average_voter():
    assert chance("🐕", {"nobody": 0.8}) == pytest.approx(1 / (1 + math.exp(1 - 1 - math.log(4))))


def test_no_confidence_is_surer_than_what_was_seen():
    sure, surest, hopeless = (chance("🚗", {"yolov8": one}) for one in (0.9, 1.0, 0.0))
    assert sure == surest > hopeless == chance("🚗", {"yolov8": 0.1}) > 0


def test_colours_do_not_vote():
    assert ranking(reply("colors", "🐕")) == {}


def test_a_word_of_a_caption_is_a_voice_for_its_label():
    """Log-odds of an average voter's 0.75: -1 + 1 + ln 3."""
    wave = ranking(reply("blip", words=[("🌊", "wave")]))["🌊"]
    assert dict(wave.weights)["blip"] > 0
    assert wave.probability == pytest.approx(0.75)


def test_of_what_a_voter_says_of_a_label_its_surest_word_counts():
    (seen,) = reply("yolov8", "🚗").reply.detections
    said = reply("yolov8", full=["🚗"])
    unsure = tuple(replace(seen, confidence=one) for one in (0.3, 0.8, 0.5))
    heard = replace(said, reply=replace(said.reply, detections=unsure))
    assert calibrated.evidence([heard]) == {"🚗": {"yolov8": 0.8}}


confidences = st.floats(0, 1)
some = st.dictionaries(st.sampled_from(["yolov8", "ssdlite", "stranger"]), confidences, min_size=1)


@given(some, confidences)
def test_who_is_surer_does_not_make_it_less_probable(said, confidence):
    name = min(said)
    looked = dict.fromkeys(said.keys() | {"yolov8"}, NOBODY)
    less, more = sorted((said[name], confidence))
    first, second = (chance("🚗", {**said, name: sure}, looked) for sure in (less, more))
    assert 0 <= first <= second <= 1


def test_the_order_of_replies_and_boxes_is_nothing():
    heard = [reply("yolov8", "🧑", "🚗"), reply("ssdlite", "🚗"), reply("clip", "🚗", full=["🧑"])]
    boxes = [merged("🚗", "yolov8", "ssdlite", confidence=0.4), merged("🚗", "yolov8", "clip")]
    orders = itertools.product(itertools.permutations(heard), itertools.permutations(boxes))
    assert len({vote(order, places, VOTERS, "calibrated") for order, places in orders}) == 1


def test_another_calibration_is_another_rule():
    other = replace(VOTERS, known={**VOTERS.known, "ssdlite": replace(WEAK, silent=-0.6)})
    assert identity(VOTERS) == identity(replace(VOTERS, known=dict(reversed(VOTERS.known.items()))))
    assert identity(VOTERS) != identity(other)
    assert calibrated.NAME in identity(VOTERS)
