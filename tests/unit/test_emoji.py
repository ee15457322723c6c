"""Which emoji are one class."""

import pytest

from windmill.core.emoji import normalise


@pytest.mark.parametrize("person", ["🧑", "👩", "🧒", "👨🏽", "🧑\u200d💻", "👩\u200d❤\ufe0f\u200d👨"])
def test_people_are_one_class(person):
    assert normalise(person) == "🧑"


@pytest.mark.parametrize(
    ("written", "meant"), [("✈️", "✈"), ("❄\ufe0e", "❄"), (" 🐈\u200d⬛", "🐈"), ("👍🏿", "👍")]
)
def test_variation_selectors_joiners_and_skin_tones_make_no_other_class(written, meant):
    assert normalise(written) == meant


def test_nothing_stays_nothing_and_a_lone_skin_tone_stays_itself():
    assert normalise("") == ""
    assert normalise("🏽") == "🏽"
