"""The emoji of labels and of captions' words."""

from pathlib import Path

import emoji as unicode
import pytest

from windmill import vocabularies
from windmill.core.emoji import PERSON, normalise
from windmill.services import emoji

ROOT = Path(__file__).parents[3]
VOCABULARIES = {"coco": 80, "imagenet": 1000, "objects365": 365, "openimages": 601}
PEOPLE = {"person", "man", "woman", "boy", "girl", "human body", "baseball player", "bridegroom"}


def entries(table):
    where = "vocabularies" if table == "emoji.tsv" else "services"
    rows = (ROOT / "windmill" / where / table).read_text("utf-8").splitlines()
    return [(name, symbols.split()) for name, symbols in (row.split("\t") for row in rows)]


@pytest.mark.parametrize(("vocabulary", "size"), VOCABULARIES.items())
def test_every_class_was_considered(vocabulary, size):
    names = vocabularies.names(vocabulary)
    considered = {name for name, _ in entries("emoji.tsv")}
    assert len(names) == size
    assert {name.casefold() for name in names} <= considered


def test_every_coco_class_has_an_emoji_of_its_own():
    assert len({normalise(emoji.of(name)) for name in vocabularies.names("coco")} - {""}) == 80


def test_one_class_has_one_entry_and_no_entry_is_without_a_class():
    written = [name for name, _ in entries("emoji.tsv")]
    names = {name.casefold() for vocabulary in VOCABULARIES for name in vocabularies.names(vocabulary)}
    assert written == sorted(set(written))
    assert {name.rpartition(":")[2] for name in written} == names
    assert len(emoji._classes()) == len(written)


def test_captions_words_stand_once_and_say_more_than_the_classes():
    written, classes = dict(entries("emoji_words.tsv")), dict(entries("emoji.tsv"))
    assert list(written) == [name for name, _ in entries("emoji_words.tsv")] == sorted(written)
    assert not [name for name, symbols in written.items() if classes.get(name) == symbols]


@pytest.mark.parametrize("table", ["emoji.tsv", "emoji_words.tsv"])
def test_emoji_are_fully_qualified_and_old_enough_for_everyones_font(table):
    for name, symbols in entries(table):
        for symbol in symbols:
            known = unicode.EMOJI_DATA[symbol]
            assert known["status"] == unicode.STATUS["fully_qualified"], name
            assert known["E"] <= 15, name


def test_what_a_vote_makes_of_an_emoji_is_the_emoji_of_something():
    tables = [symbols for table in ("emoji.tsv", "emoji_words.tsv") for _, symbols in entries(table)]
    known = {symbol for symbols in tables for symbol in symbols}
    assert {normalise(symbol) for symbol in known} <= {symbol.replace("\ufe0f", "") for symbol in known}


def test_only_people_are_counted_as_people():
    counted = {name for name, symbols in entries("emoji.tsv") if PERSON in map(normalise, symbols)}
    assert counted == PEOPLE


@pytest.mark.parametrize(
    ("label", "symbol"),
    [
        ("cell phone", "📱"),
        ("cell_phone", "📱"),
        ("Cell Phone", "📱"),
        ("Traffic lights", "🚦"),
        ("hot-dogs", "🌭"),
        ("Golden Retriever", "🐕"),
        ("Bat (Animal)", "🦇"),
        ("Cabinet/shelf", "🗄️"),
        ("puppies", "🐕"),
        ("taxicab", "🚕"),
        ("race car", "🏎️"),
        ("Watches", "⌚"),
        ("desk", ""),
        ("flux capacitor", ""),
        ("", ""),
    ],
)
def test_a_label_is_found_however_it_is_written(label, symbol):
    assert emoji.of(label) == symbol


def test_a_mouse_is_an_animal_in_open_images_only():
    assert emoji.of("Mouse") == emoji.of("mouse", "coco") == emoji.of("Mouse", "objects365") == "🖱️"
    assert emoji.of("Mouse", "openimages") == "🐁"


def found(text):
    return {mention["word"]: mention["emoji"] for mention in emoji.mappings(text)}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A man is riding a horse.", {"man": "🧑", "horse": "🐎"}),
        ("Two Dogs and three KITTENS", {"Dogs": "🐕", "KITTENS": "🐈"}),
        ("geese beside children's bikes", {"geese": "🪿", "children's": "🧒", "bikes": "🚲"}),
        ("a hot dog next to a dog", {"hot dog": "🌭", "dog": "🐕"}),
        ("traffic lights, a fire hydrant", {"traffic lights": "🚦", "fire hydrant": "🧯"}),
        ("a teddy-bear and a cell_phone", {"teddy-bear": "🧸", "cell_phone": "📱"}),
        ("holding a baseball bat", {"baseball bat": "⚾"}),
        ("eating ice cream", {"eating": "🍽️", "ice cream": "🍦"}),
        ("running, ran, runs", {"running": "🏃"}),
        ("brushing her teeth asleep", {"brushing her teeth": "🪥", "asleep": "😴"}),
        ("a baby elephant swims", {"baby elephant": "🐘", "swims": "🏊"}),
        ("fishing for fish", {"fishing": "🎣", "fish": "🐟"}),
        ("smoking a cigarette in the smoke", {"smoking": "🚬"}),
        ("glasses of wine", {"glasses of wine": "🍷"}),
    ],
)
def test_a_captions_words_as_they_stand(caption, words):
    assert found(caption) == words


@pytest.mark.parametrize(
    "caption",
    [
        "they can watch it fly by",
        "an orange one on the left",
        "tied, potted, dressed, planted and parked at home plate",
        "a couple of them under blue skies",
        "he saw it back in the dark",
        "a license plate in good light",
        "the home run",
    ],
)
def test_words_that_mostly_mean_something_else_say_nothing(caption):
    assert emoji.mappings(caption) == []


def test_an_emoji_comes_once_with_its_first_word():
    assert emoji.mappings("a couch, a sofa, couches") == [{"emoji": "🛋️", "word": "couch"}]


def test_one_word_can_tell_of_a_person_and_a_thing():
    assert emoji.mappings("a skier") == [{"emoji": "🎿", "word": "skier"}, {"emoji": "🧑", "word": "skier"}]


@pytest.mark.parametrize("text", ["", " \n", "…?!", "🐕🐕", "12:30 €5", "x" * 100_000, "to", "a\0b"])
def test_text_without_words_of_ours_says_nothing(text):
    assert emoji.mappings(text) == []


def test_captions_agree_with_what_is_in_their_photos(shared_data):
    from bench import captions

    agreement = captions.measure(shared_data / "coco-photos" / "photos.json")
    precision, recall = agreement.precision_and_recall(captions.classes())
    assert precision > 0.9
    assert recall > 0.5
