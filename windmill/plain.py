"""What others say, made fit to be shown: names of files, labels, captions and errors are data, never orders.

One function for each medium: `line` for terminals, logs and error messages (`progress.plain` puts it into
tables), `block` for a text of several lines, `markup` for HTML, `document` for JSON.
"""

from __future__ import annotations

import html
import json
import re

# What a terminal obeys or hides: control characters, direction marks and overrides, zero-width characters,
# and halves of surrogate pairs, which no output can encode. Joiners stay: emoji are made with them.
_ORDERS = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")  # whatever someone takes for the end of a line
LONGEST = 2000  # characters of one line, where its caller does not say


def line(value: object, most: int = LONGEST) -> str:
    """One line of at most `most` characters (and "…"), with "�" for whatever a terminal would obey."""
    text = str(value)
    cut = f"{text[:most]}…" if len(text) > most else text
    return cut if cut.isprintable() else _ORDERS.sub("�", _BREAKS.sub(" ", cut)).strip()


def block(value: object) -> str:
    """The same for a text whose lines are to stay."""
    return "\n".join(line(part) for part in str(value).split("\n"))


def markup(value: object) -> str:
    """Text or an attribute's value for HTML, quotes included."""
    return html.escape(line(value))


def document(value: object) -> str:
    """Indented JSON that a person can read, too: emoji stay, what a terminal would obey is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return "\n".join(_ORDERS.sub(_escaped, part) for part in text.split("\n"))


def _escaped(order: re.Match[str]) -> str:
    return f"\\u{ord(order[0]):04x}"
