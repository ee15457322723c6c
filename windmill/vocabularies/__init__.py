"""What models call what they see: the names of four vocabularies, the emoji of a name, and its class.

COCO's 80 in its own order; ImageNet-1k's 1000 in the order of WordNet's numbers and the wording of CLIP
(open_clip, MIT); Objects365's 365 and Open Images V7's 601 boxable ones in the order and spelling of
ultralytics' weights, which for Objects365 is the order of mmdetection, too.

`classes.tsv` says under which word detectors of all three vocabularies of boxes meet, where that is not the
name itself: COCO's word for whatever COCO's annotators gave it to (docs/adr/0025). Rows of COCO hold how
YOLOv3's own `coco.names` spells a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

Vocabulary = Literal["coco", "imagenet", "objects365", "openimages"]

OF_BOXES: tuple[Vocabulary, ...] = ("coco", "objects365", "openimages")  # what detectors speak

_SEPARATORS = re.compile(r"[\s_()&-]+")


@cache
def names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names of `vocabulary`; the class with number n is at n.

    ImageNet has two pairs of classes of the same name: 657 and 744 (missile), 836 and 837 (sunglasses).
    """
    return tuple(name for _, name in _rows(f"{vocabulary}.tsv"))


def key(name: str) -> str:
    """`name` as names are compared: in any case, with blanks or underscores, one or many."""
    return _SEPARATORS.sub(" ", name.casefold().replace("’", "'").removesuffix("'s")).strip()


@cache
def classes(vocabulary: Vocabulary) -> Mapping[str, str]:
    """The class of each name of a vocabulary of boxes, by the name's key."""
    own = {name: name for name in map(key, names(vocabulary))}
    for met, where, meant in _rows("classes.tsv"):
        if where == vocabulary:
            own.update({key(name): met for name in meant.split("; ")})
    return MappingProxyType(own)


@cache
def emoji() -> Mapping[str, str]:
    """The emoji of every name by its key, "" for a name that any would mislead about.

    A key `openimages:mouse` goes before `mouse` for names of that vocabulary.
    """
    return MappingProxyType({key(name): symbol for name, symbol in _rows("emoji.tsv")})


def emoji_of(name: str, vocabulary: Vocabulary) -> str:
    """The emoji of a name of `vocabulary`; "" for one that has none, or none of these vocabularies has."""
    return emoji().get(f"{vocabulary}:{key(name)}") or emoji().get(key(name), "")


def _rows(table: str) -> Iterator[list[str]]:
    for row in files("windmill.vocabularies").joinpath(table).read_text("utf-8").splitlines():
        yield row.split("\t")
