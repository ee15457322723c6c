"""Conditions: what people write, and what is said where it is none."""

import re

import pytest

from windmill.core.fields import FIELDS
from windmill.core.where import DEEPEST, LONGEST, MOST, All, Any, Compare, Has, Not, parse
from windmill.errors import ConfigError

CAR = Has(field="votes", value="🚗")
WIDE = Compare(field="width", key=None, operator=">", value=9)


def test_the_condition_of_the_issue():
    assert parse("votes ? '🚗' and group = 'coco2017' and nsfw < 0.1") == All(
        (
            CAR,
            Compare(field="group", key=None, operator="=", value="coco2017"),
            Compare(field="nsfw", key=None, operator="<", value=0.1),
        )
    )


@pytest.mark.parametrize("example", [one for field in FIELDS.values() for one in field.examples])
def test_every_example_of_a_field_is_a_condition(example):
    assert parse(example)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("votes?'🚗'", CAR),
        ("  VOTES ? “🚗” ", CAR),
        ("votes ? ‘🚗’", CAR),
        ("((votes ? '🚗'))", CAR),
        ("votes['🚗'] >= 3", Compare(field="votes", key="🚗", operator=">=", value=3)),
        ("text ? 'it''s'", Has(field="text", value="it's")),
        ('text ? "say ""it\'s"""', Has(field="text", value='say "it\'s"')),
        ("metadata['Make']='Canon'", Compare(field="metadata", key="Make", operator="=", value="Canon")),
        (
            "metadata['gps.latitude'] < -.5e1",
            Compare(field="metadata", key="gps.latitude", operator="<", value=-5),
        ),
        (f"id = {2**63 - 1}", Compare(field="id", key=None, operator="=", value=2**63 - 1)),
        (f"id > -{2**63}", Compare(field="id", key=None, operator=">", value=-(2**63))),
        ("votes ? '🚗' OR width > 9 And not width>9", Any((CAR, All((WIDE, Not(WIDE)))))),
        ("(votes ? '🚗' or width > 9) and not not width > 9", All((Any((CAR, WIDE)), Not(Not(WIDE))))),
    ],
)
def test_what_is_meant(text, meant):
    assert parse(text) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-01-31", "2024-01-31"),
        ("20240131", "2024-01-31"),
        ("2024-01-31T12:00", "2024-01-31T12:00:00+00:00"),
        ("2024-01-31 12:00+02:00", "2024-01-31T10:00:00+00:00"),
    ],
)
def test_a_time_is_one_of_utc(written, meant):
    assert parse(f"created >= '{written}'") == Compare(field="created", key=None, operator=">=", value=meant)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", 'character 1: expected a field (votes, boxes, …), "not" or "(", got the end'),
        ("nswf < 0.1", "character 1: nswf is no field; there are votes, boxes, … nsfw"),
        ("votes ? '🚗' and and", "character 17: expected a field … got and"),
        ("votes ? '🚗' nsfw < 1", 'character 13: expected "and", "or" or the end, got nsfw'),
        ("votes ? '🚗", "character 9: the text '🚗 has no closing quote"),
        ("votes ? car", "character 9: expected a text in quotes that is not empty, got car"),
        ("votes ? ' '", "character 9: expected a text in quotes that is not empty"),
        ("votes = '🚗'", "character 7: expected what votes can be asked, like votes ? '🚗' or …, got ="),
        ("votes['🚗' >= 3", 'character 11: expected "]", got >='),
        ("votes['🚗'] >= '3'", "character 15: expected a number, got '3'"),
        ("group < 'b'", "character 7: expected one of = !=, got <"),
        ("group = coco", "character 9: expected a text in quotes, by = or !=, got coco"),
        ("nsfw ? '1'", "character 6: expected what nsfw can be asked, like nsfw < 0.1"),
        ("nsfw < 1e999", "character 8: 1e999 is too large a number"),
        (f"width > {'9' * 400}", f"character 9: {'9' * 40}… needs more than 64 bits"),
        (f"id = {2**63}", f"character 6: {2**63} needs more than 64 bits"),
        (f"id > -{2**63 + 1}", "needs more than 64 bits"),
        (f"nsfw < {'9' * 400}.5", "is too large a number"),
        ("created = '2024-W05'", "character 11: expected a day or a time in quotes, … got the week 2024-W05"),
        ("created < '2024-W05-3T12:00'", "got the week 2024-W05-3T12:00"),
        ("created < '31.1.2024'", "character 11: expected a day or a time in quotes, … got 31.1.2024"),
        ("created < '0001-01-01T00:00+09:00'", "character 11: expected a day or a time"),
        ("(faces > 1", 'character 11: expected "and", "or" or ")", got the end'),
        ("faces > 1)", 'character 10: expected "and", "or" or the end, got )'),
        ("faces & 1", "character 7: '& 1' is nothing that a condition has"),
        ("text ? 'a\0'", "character 10: a character that no text can have"),
        ("text ? 'a\ud83d'", "character 10: a character that no text can have"),
        ("('" + LONGEST * "x", "2,002 characters, more than 2,000"),
        ((DEEPEST + 1) * "(" + "faces > 1", f"more than {DEEPEST} levels"),
        ((DEEPEST + 1) * "not " + "faces > 1", f"more than {DEEPEST} levels"),
        (" or ".join(["faces > 1"] * (MOST + 1)), f"more than {MOST} statements"),
        (10_000 * "(", "10,000 characters, more than 2,000"),
    ],
)
def test_what_is_said_of_what_is_none(text, said):
    with pytest.raises(ConfigError) as refused:
        parse(text)
    message = str(refused.value)
    assert re.search(".*".join(map(re.escape, said.split("…"))), message), message
    assert "\n" not in message
    assert len(message) < 300
