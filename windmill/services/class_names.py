"""The names of the classes that models answer with, by number.

COCO's 80 in its own order; ImageNet-1k's 1000 in the order of WordNet's numbers and the wording of CLIP
(open_clip, MIT); Objects365's 365 and Open Images V7's 601 boxable ones in the order and spelling of
ultralytics' weights, which for Objects365 is the order of mmdetection, too.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

Vocabulary = Literal["coco", "imagenet", "objects365", "openimages"]


@cache
def of(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names of `vocabulary`; the class with number n is at n.

    ImageNet has two pairs of classes of the same name: 657 and 744 (missile), 836 and 837 (sunglasses).
    """
    rows = files("windmill.services").joinpath(f"{vocabulary}.tsv").read_text("utf-8").splitlines()
    return tuple(name for _, name in (row.split("\t") for row in rows))
