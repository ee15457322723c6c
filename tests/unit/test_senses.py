"""What an emoji or a word may mean, as votes, boxes and colours spell it."""

import pytest

from windmill.core.senses import meant


@pytest.mark.parametrize(
    ("said", "emoji"),
    [
        ("✈️", ("✈",)),
        ("👩🏽\u200d🦰", ("🧑",)),
        ("Car", ("🚗",)),
        ("traffic_light", ("🚦",)),
        ("person", ("🧑",)),
        ("mouse", ("🐁", "🖱")),  # of Open Images, and of COCO
        ("qwerty", ()),
    ],
)
def test_a_word_means_all_its_emoji_and_an_emoji_its_class(said, emoji):
    assert meant(said).emoji == emoji


def test_a_class_is_meant_by_its_own_name_alone():
    assert meant("Person").classes == ("person",)
    assert meant("man").classes == ()
    assert meant("🧑").classes == ()


def test_a_word_is_looked_for_in_the_usual_cases():
    assert set(meant("traffic light").words) >= {"traffic light", "Traffic light", "Traffic Light"}
    assert "TV" in meant("tv").words
