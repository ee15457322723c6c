"""What a person may mean who writes an emoji or a word: as votes, boxes and colours spell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from windmill import vocabularies
from windmill.catalog import UNKNOWN
from windmill.core import classes
from windmill.core.emoji import normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """An emoji, or a word.

    `emoji`: normalised; of a word all that stand for it in any vocabulary, and there may be none. `classes`:
    the class of this name; none for the name of a part of one, as a man is no class of his own. `words`: a
    word as written and in the usual cases, for services write Poppy Red, traffic light and TV.
    """

    emoji: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def meant(said: str) -> Meant:
    """What `said` may mean."""
    if not any(letter.isalpha() for letter in said):
        return Meant(emoji=(normalise(said),), words=(said.strip(),))
    return Meant(emoji=_emoji(said), classes=_classes(said), words=_spellings(said.strip()))


def _emoji(word: str) -> tuple[str, ...]:
    known = (vocabularies.emoji_of(word, vocabulary) for vocabulary in get_args(vocabularies.Vocabulary))
    return tuple(sorted({normalise(symbol) for symbol in known if symbol}))


def _classes(word: str) -> tuple[str, ...]:
    name = vocabularies.key(word)
    return (name,) if classes.words(UNKNOWN).class_of(name, "") == name else ()


def _spellings(word: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((word, word.lower(), word.upper(), word.capitalize(), word.title())))
