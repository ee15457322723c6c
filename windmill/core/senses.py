"""What a person may mean who writes an emoji or a word: as votes, boxes and colours spell it."""

from __future__ import annotations

from typing import get_args

from windmill import vocabularies
from windmill.core import classes
from windmill.core.emoji import normalise


def spellings(said: str) -> list[str]:
    """As written, and in the usual cases: services write Poppy Red, traffic light and TV."""
    word = said.strip()
    return list(dict.fromkeys((word, word.lower(), word.upper(), word.capitalize(), word.title())))


def emoji(said: str) -> list[str]:
    """The normalised emoji that is meant; of a word, all that stand for it in any vocabulary."""
    if not _is_word(said):
        return [normalise(said)]
    known = (vocabularies.emoji_of(said, vocabulary) for vocabulary in get_args(vocabularies.Vocabulary))
    return sorted({normalise(symbol) for symbol in known if symbol})


def class_names(said: str) -> list[str]:
    """The class that has this name; none for the name of a part of one (a man is no class of his own)."""
    name = vocabularies.key(said)
    return [name] if _is_word(said) and classes.words("unknown").class_of(name, "") == name else []


def _is_word(said: str) -> bool:
    return any(letter.isalpha() for letter in said)
