"""What others say, made fit to be shown: names of files, labels, captions and errors are data, never orders.

One function for each medium: `line` for terminals and logs (`progress.plain` puts it into tables), `markup`
for HTML. In JSON, json itself escapes whatever needs it.
"""

from __future__ import annotations

import html
import re

# What a terminal obeys or hides: control characters, direction marks and overrides, zero-width characters,
# and halves of surrogate pairs, which no output can encode. Joiners stay: emoji are made with them.
_ORDERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
LONGEST = 2000  # characters of one line, where its caller does not say


def line(value: object, most: int = LONGEST) -> str:
    """One line of at most `most` characters (and "…"), with "�" for whatever a terminal would obey."""
    text = str(value)
    long = len(text) > most
    return _ORDERS.sub("�", " ".join(text[:most].split())) + "…" * long


def markup(value: object) -> str:
    """Text or an attribute's value for HTML, quotes included."""
    return html.escape(_ORDERS.sub("�", str(value)))
