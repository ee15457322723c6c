"""The classes under which detectors of different vocabularies meet, and who knows which."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windmill import catalog, vocabularies
from windmill.core import classes
from windmill.core.emoji import normalise

TABLE = [
    row.split("\t")
    for row in (Path(vocabularies.__file__).parent / "classes.tsv").read_text("utf-8").splitlines()
]
ROWS = [(meant, vocabulary, name) for meant, vocabulary, names in TABLE for name in names.split("; ")]
COCO = {vocabularies.key(name) for name in vocabularies.names("coco")}

# What is one class and has several emoji: a voter tells a duck from a bird, whoever draws boxes need not.
SEVERAL = {"barrel/bucket", "bear", "bird", "boat", "cabinet/shelf", "car", "clock", "cow", "fish", "flower",
           "footwear", "glasses", "hat", "pen/pencil", "pepper", "sandwich", "sports ball", "tie", "truck",
           "tv"}  # fmt: skip


def class_of(label, emoji="", vocabulary="unknown"):
    return classes.words(vocabulary).class_of(label, emoji)


@pytest.mark.parametrize("vocabulary", vocabularies.OF_BOXES)
def test_every_name_has_a_class_however_it_is_written(vocabulary):
    for name in vocabularies.names(vocabulary):
        meant = class_of(name, "", vocabulary)
        assert meant
        assert class_of(name.upper().replace(" ", "_"), "🤖", vocabulary) == meant
        assert meant in classes.words(vocabulary).knows


def test_coco_s_words_are_classes_that_the_other_vocabularies_know_too():
    known = [classes.words(vocabulary).knows for vocabulary in vocabularies.OF_BOXES]
    assert known[0] == COCO
    assert known[1] & known[2] >= COCO


def test_the_table_is_sorted_and_names_what_there_is_once():
    assert sorted(TABLE, key=lambda row: row[:2]) == TABLE
    assert len({(vocabulary, name) for _, vocabulary, name in ROWS}) == len(ROWS)
    for meant, vocabulary, name in ROWS:
        assert vocabularies.key(name) != meant, "needs no row"
        assert (name in vocabularies.names(vocabulary)) == (vocabulary != "coco"), name


def test_members_of_a_class_have_one_emoji_but_for_the_exceptions():
    emoji = {}
    for vocabulary in vocabularies.OF_BOXES:
        for name, meant in vocabularies.classes(vocabulary).items():
            emoji.setdefault(meant, set()).add(normalise(vocabularies.emoji_of(name, vocabulary)))
    assert {meant for meant, symbols in emoji.items() if len(symbols - {""}) > 1} == SEVERAL


@pytest.mark.parametrize(
    ("vocabulary", "label", "meant"),
    [
        ("openimages", "Man", "person"),
        ("openimages", "Girl", "person"),
        ("openimages", "Taxi", "car"),
        ("objects365", "SUV", "car"),
        ("objects365", "Pickup Truck", "truck"),
        ("objects365", "Wild Bird", "bird"),
        ("openimages", "Television", "tv"),
        ("objects365", "Monitor/TV", "tv"),
        ("openimages", "Mouse", "mouse animal"),
        ("openimages", "Computer mouse", "mouse"),
        ("objects365", "Mouse", "mouse"),
        ("objects365", "Telephone", "corded phone"),
        ("openimages", "Telephone", "telephone"),
        ("objects365", "Trash bin Can", "trash bin can"),
        ("openimages", "Waste container", "trash bin can"),
        ("openimages", "Accordion", "accordion"),
        ("coco", "motorbike", "motorcycle"),
    ],
)
def test_a_name_means_what_its_vocabulary_means(vocabulary, label, meant):
    assert class_of(label, "", vocabulary) == meant


@pytest.mark.parametrize(
    "general", ["Vehicle", "Land vehicle", "Aircraft", "Watercraft", "Animal", "Mammal", "Carnivore", "Food",
                "Fruit", "Clothing", "Furniture", "Table", "Toy", "Tableware", "Luggage and bags", "Racket",
                "Human face", "Human arm"]
)  # fmt: skip
def test_a_word_for_many_things_is_none_of_them(general):
    assert class_of(general, "🚗", "openimages") == vocabularies.key(general)


@pytest.mark.parametrize(
    ("label", "emoji", "meant"),
    [
        ("man", "👨", "person"),
        ("firefighter", "👩🏽‍🚒", "person"),
        ("", "🧒", "person"),
        ("Sedan", "🚗", "car"),
        ("Sedan", "", "sedan"),
        ("cab", "🚕", "car"),
        ("kitten", "🐈", "cat"),
        ("Taxi", "", "car"),
        ("Mouse", "🐁", "mouse animal"),
        ("mouse", "🖱️", "mouse"),
        ("loaf", "🍞", "loaf"),  # bread and COCO's toaster share it
        ("Fork-Lift", "", "fork lift"),
        ("", "🤖", "🤖"),
        ("", "", ""),
    ],
)
def test_what_no_vocabulary_declares_is_read_as_far_as_it_means_one_thing(label, emoji, meant):
    assert class_of(label, emoji) == class_of(label, emoji, ("cat", "dog")) == meant


def test_a_list_of_labels_is_known_by_its_classes():
    assert classes.words(("Taxi", "SUV", "Forklift")).knows == {"car", "forklift"}


def test_nothing_is_known_of_a_service_that_declares_nothing():
    assert classes.words(catalog.UNKNOWN).knows is None


def test_a_service_s_vocabulary_is_looked_up_once_and_not_for_each_reply():
    assert classes.words("openimages") is classes.words("openimages")


@pytest.mark.parametrize(("name", "vocabulary"), [
    ("detectron2", "coco"), ("rtdetr", "coco"), ("yolov8", "coco"), ("nanodet", "coco"), ("ssdlite", "coco"),
    ("centernet", "coco"), ("yolo_365", "objects365"), ("yolo_oi7", "openimages"), ("clip", "unknown"),
    ("mine", "unknown"),
])  # fmt: skip
def test_what_the_services_of_the_contract_speak(name, vocabulary):
    assert catalog.facts(name).vocabulary == vocabulary


@given(
    st.text(max_size=9),
    st.sampled_from(["", "🧑", "👩🏽‍🚒", "🍞", "🤖", "✈"]),
    st.sampled_from((*catalog.VOCABULARIES, ("cat",))),
)
def test_whatever_is_said_has_one_class_in_any_case(label, emoji, vocabulary):
    meant = class_of(label, emoji, vocabulary)
    assert bool(meant) == bool(label or normalise(emoji))
    assert class_of(label, f"{emoji}\ufe0f", vocabulary) == meant
    assert class_of(label.casefold(), emoji, vocabulary) == meant
