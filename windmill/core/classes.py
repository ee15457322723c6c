"""Under which class a detection meets those of other services, and which classes a service knows.

Vocabularies differ: a Man of Open Images and a person of COCO are one class, and whoever cannot say
"accordion" has no word against one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from windmill import vocabularies
from windmill.core.emoji import normalise
from windmill.vocabularies import Vocabulary

PERSON = "person"

# Words for many things, which share the emoji of one of them: 🚗 behind a label nobody knows means a car.
_GENERAL = frozenset({"aircraft", "land vehicle", "sports equipment", "vehicle", "watercraft"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a service's labels mean.

    `classes` has the class of each name, by its key. `knows` are the classes that the service looks for;
    None if nobody said which.
    """

    classes: Mapping[str, str]
    knows: frozenset[str] | None

    def class_of(self, label: str, emoji: str) -> str:
        """The class of a detection; "" only for one with neither label nor emoji.

        What no table names has the class that its emoji stands for, else its label is a class of its own.
        """
        name = vocabularies.key(label)
        if name in self.classes:
            return self.classes[name]
        symbol = normalise(emoji)
        return _by_emoji().get(symbol) or name or symbol or label.casefold()


@lru_cache(maxsize=1000)
def words(vocabulary: str | tuple[str, ...]) -> Words:
    """The words of a service whose catalog entry names this vocabulary, or lists its labels."""
    for known in vocabularies.OF_BOXES:
        if vocabulary == known:
            own = vocabularies.classes(known)
            return Words(classes={**_anyones(), **own}, knows=frozenset(own.values()))
    if isinstance(vocabulary, str):
        return Words(classes=_anyones(), knows=None)
    anyones = Words(classes=_anyones(), knows=None)
    return replace(anyones, knows=frozenset(anyones.class_of(label, "") for label in vocabulary))


@cache
def _anyones() -> Mapping[str, str]:
    """The class of each name that means the same in all vocabularies that have it."""
    return _unambiguous((name, meant) for _, name, meant in _names())


@cache
def _by_emoji() -> Mapping[str, str]:
    """The class of each normalised emoji that stands for one only."""
    symbols = (
        (normalise(vocabularies.emoji_of(name, vocabulary)), meant) for vocabulary, name, meant in _names()
    )
    return _unambiguous((symbol, meant) for symbol, meant in symbols if symbol and meant not in _GENERAL)


def _names() -> Iterator[tuple[Vocabulary, str, str]]:
    """Vocabulary, name and class of every name as keys."""
    for vocabulary in vocabularies.OF_BOXES:
        for name, meant in vocabularies.classes(vocabulary).items():
            yield vocabulary, name, meant


def _unambiguous(meanings: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    by_name: dict[str, set[str]] = {}
    for name, meant in meanings:
        by_name.setdefault(name, set()).add(meant)
    return {name: meant for name, (meant, *others) in by_name.items() if not others}
