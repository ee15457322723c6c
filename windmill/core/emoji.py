"""When two emoji mean the same class of object."""

from __future__ import annotations

from functools import lru_cache

PERSON = "🧑"
PERSON_LIKE = frozenset("🧑👩👨🧒👧👦👶🧓👵👴")

_JOINER = "\u200d"
_VARIATION_SELECTORS = {0xFE0E: None, 0xFE0F: None}
_SKIN_TONES = dict.fromkeys(range(0x1F3FB, 0x1F400))


@lru_cache(maxsize=10_000)  # what services send has no end
def normalise(emoji: str) -> str:
    """The emoji that stands for the class of `emoji`; "" stays "".

    Variation selectors, skin tones and whatever follows a joiner make no other class, and every
    person-like emoji is 🧑.
    """
    base = emoji.strip().split(_JOINER, 1)[0].translate(_VARIATION_SELECTORS)
    base = base.translate(_SKIN_TONES) or base
    return PERSON if base in PERSON_LIKE else base
