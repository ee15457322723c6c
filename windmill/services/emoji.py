"""The emoji of labels and of captions' words: how words are found in two small tables.

One is that of the vocabularies' names. `emoji_words.tsv` holds what captions say besides: verbs (written
"to run"), people and things, several emoji where a word tells of several ("skier"), none where it mostly
means something else ("watch").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import product

from windmill import vocabularies
from windmill.vocabularies import Vocabulary

_MOST_LETTERS = 30  # of a word that is bent: what OCR reads has no end
_VERB_FORM = re.compile(r"(ed|ing)$")

_Table = Mapping[str, Sequence[str]]  # emoji by key


@dataclass(frozen=True, slots=True)
class _Token:
    key: str
    start: int
    end: int


def of(label: str, vocabulary: Vocabulary | None = None) -> str:
    """The emoji of a class name in any case, with blanks or underscores, one or many; "" where there is none.

    `vocabulary` tells apart what two of them call by one name: a mouse is an animal in Open Images only.
    """
    keys = vocabularies.key(label).split(" ")
    if own := _classes().get(f"{vocabulary}:{' '.join(keys)}"):
        return own[0]
    for known in (_classes(), _caption_words()):
        if (symbols := _entry(known, keys)) is not None:
            return next(iter(symbols), "")
    return ""


def mappings(text: str) -> list[dict[str, str]]:
    """`emoji_mappings` of a caption: each emoji once, with the first word that stands for it, as written.

    Several words that belong together count as one, the longest first: a hot dog is no dog.
    """
    found: dict[str, str] = {}
    for words, symbols in _matches(text):
        for symbol in symbols:
            found.setdefault(symbol, words)
    return [{"emoji": symbol, "word": words} for symbol, words in found.items()]


def _matches(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    tokens, at = _tokens(text), 0
    while at < len(tokens):
        length, symbols = _longest(tokens[at : at + _most_words(tokens[at].key)])
        yield text[tokens[at].start : tokens[at + length - 1].end], symbols
        at += length


def _longest(tokens: Sequence[_Token]) -> tuple[int, Sequence[str]]:
    """How many of `tokens`, from the first on, are one entry, and its emoji; (1, none) without an entry."""
    keys = [token.key for token in tokens]
    for length in range(len(keys), 0, -1):
        if (symbols := _entry(_caption_words(), keys[:length])) is not None:
            return length, symbols
    return 1, ()


def _entry(known: _Table, keys: Sequence[str]) -> Sequence[str] | None:
    """The emoji of the entry for these words as they are, else with the first and the last unbent."""
    if (exact := " ".join(keys)) in known:
        return known[exact]
    return next((known[name] for name in _spellings(keys) if name in known), None)


def _spellings(keys: Sequence[str]) -> Iterator[str]:
    if len(keys) == 1:
        yield from _forms(keys[0])
        return
    for first, last in product(_forms(keys[0]), _forms(keys[-1])):
        yield " ".join([first, *keys[1:-1], last])


@lru_cache(maxsize=10_000)
def _forms(word: str) -> tuple[str, ...]:
    """A word, its noun, its verb: what ends in -ed or -ing is no noun, so who is tied up wears no tie."""
    import simplemma  # its dictionary takes 0.2 s, which who asks for known labels need not wait for

    bent = word.isalpha() and len(word) <= _MOST_LETTERS
    base = simplemma.lemmatize(word, lang="en").casefold() if bent else word
    nouns = (word,) if _VERB_FORM.search(word) else (word, base)
    return tuple(dict.fromkeys((*nouns, f"to:{word}", f"to:{base}")))


def _most_words(first: str) -> int:
    """Of the entries that begin with some form of `first`; nearly all words begin none of several."""
    return max(_lengths().get(form, 1) for form in _forms(first))


@cache
def _lengths() -> Mapping[str, int]:
    lengths: dict[str, int] = {}
    for first, *others in (name.split(" ") for name in _caption_words()):
        lengths[first] = max(lengths.get(first, 1), 1 + len(others))
    return lengths


def _tokens(text: str) -> list[_Token]:
    import simplemma

    tokens, end = [], 0
    for written in simplemma.simple_tokenizer(text):
        start = text.index(written, end)
        end = start + len(written)
        tokens.append(_Token(vocabularies.key(written), start, end))
    return tokens


@cache
def _classes() -> _Table:
    return {name: symbol.split() for name, symbol in vocabularies.emoji().items()}


@cache
def _caption_words() -> _Table:
    """What `emoji_words.tsv` says goes before a class of the same name; "to:" marks verbs."""
    rows = files("windmill.services").joinpath("emoji_words.tsv").read_text("utf-8").splitlines()
    words = dict(row.split("\t") for row in rows)
    said = {re.sub("^to ", "to:", vocabularies.key(name)): symbols.split() for name, symbols in words.items()}
    return {**_classes(), **said}
