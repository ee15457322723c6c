"""The names of the classes that models answer with, by number.

COCO's 80 as in its paper (Lin et al. 2014); ImageNet-1k's 1000 in the order of its WordNet numbers, in the wording of
OpenAI's CLIP (MIT, as in open_clip); Objects365's 365 and the 601 boxable ones of Open Images V7 in the order
and spelling of the ultralytics weights. Names are all that is taken from anywhere.
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
