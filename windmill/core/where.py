"""Conditions on what the pipeline knows of images, as a person writes them: text → `Condition`.

    condition   = all, {"or", all}
    all         = one, {"and", one}
    one         = "not", one | "(", condition, ")" | statement
    statement   = field, "?", text | field, ["[", text, "]"], operator, value

Keywords and fields in any case; texts in quotes of either kind, doubled where the text itself has one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

from windmill.core.fields import FIELDS, Field, Kind
from windmill.errors import ConfigError
from windmill.plain import line

LONGEST = 2000  # characters of a condition
DEEPEST = 30  # levels of parentheses and of `not`
MOST = 30  # statements, each of which is a look into a table

_SHOWN = 40  # characters of what was met instead
_LARGEST = (1 << 63) - 1  # what databases and indices hold as a whole number
_WEEK = "W"  # of a date like 2024-W05, which is seven days and not the one that Python takes it for
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*"|‘[^’]*’|“[^”]*”)"""
    r"|(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|!=|[=<>?()\[\]])|(?P<end>$))"
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what no database holds, and no image can have
_KEYWORDS = ("and", "or", "not")
_EQUALITY = ("=", "!=")
OPERATORS = (*_EQUALITY, "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Has:
    """`votes ? '🚗'`: the list of this field holds the value, or its text does."""

    field: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`nsfw < 0.1`, `votes['🚗'] >= 3`: a field, or what it holds under `key`, beside a value.

    That of a time is ISO 8601: a day, or a moment with its offset from UTC.
    """

    field: str
    key: str | None
    operator: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class All:
    """`a and b`."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """`a or b`."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`not a`."""

    of: Condition


Condition = Has | Compare | All | Any | Not


def parse(text: str) -> Condition:
    """The condition that `text` is. Raises `ConfigError`: where it ends to be one, and what was expected."""
    if len(text) > LONGEST:
        raise ConfigError(f"condition: {len(text):,} characters, more than {LONGEST:,}")
    if found := _UNSTORABLE.search(text):
        raise _refused(found.start(), "a character that no text can have")
    reader = _Reader(tuple(_tokens(text)))
    condition = reader.any(0)
    if reader.next.kind != "end":
        raise reader.expected('"and", "or" or the end')
    return condition


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    written: str
    place: int  # of its first character

    @property
    def word(self) -> str:
        """What a keyword, a field or a sign is called; "" for a value."""
        return self.written.lower() if self.kind in ("word", "sign") else ""


def _tokens(text: str) -> Iterator[_Token]:
    place = 0
    while True:
        found = _TOKEN.match(text, place)
        if found is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            raise _refused(place, _unreadable(text[place:]))
        kind = str(found.lastgroup)
        yield _Token(kind, found[kind], found.start(kind))
        if kind == "end":
            return
        place = found.end()


def _unreadable(rest: str) -> str:
    if rest[0] in "'\"‘“":
        return f"the text {line(rest, _SHOWN)} has no closing quote"
    return f"{line(rest, _SHOWN)!r} is nothing that a condition has; texts stand in quotes"


def _refused(place: int, why: str) -> ConfigError:
    return ConfigError(f"condition, character {place + 1}: {why}")


class _Reader:
    """Reads from left to right: recursive descent, one method for each line of the grammar."""

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._tokens = tokens
        self._at = 0
        self._statements = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def expected(self, what: str) -> ConfigError:
        met = line(self.next.written, _SHOWN) or "the end"
        return _refused(self.next.place, f"expected {what}, got {met}")

    def any(self, depth: int) -> Condition:
        found = [self._all(depth)]
        while self._took("or"):
            found.append(self._all(depth))
        return found[0] if len(found) == 1 else Any(tuple(found))

    def _all(self, depth: int) -> Condition:
        found = [self._one(depth)]
        while self._took("and"):
            found.append(self._one(depth))
        return found[0] if len(found) == 1 else All(tuple(found))

    def _one(self, depth: int) -> Condition:
        if depth > DEEPEST:
            raise _refused(self.next.place, f"more than {DEEPEST} levels of parentheses and not")
        if self._took("not"):
            return Not(self._one(depth + 1))
        if not self._took("("):
            return self._statement()
        inner = self.any(depth + 1)
        self._take(")", '"and", "or" or ")"')
        return inner

    def _statement(self) -> Condition:
        name, field = self._field()
        self._statements += 1
        if self._statements > MOST:
            raise _refused(self.next.place, f"more than {MOST} statements")
        if field.holds and self._took("?"):
            return Has(field=name, value=self._sought())
        if field.under and self._took("["):
            key = self._sought()
            self._take("]", '"]"')
            return self._compare(name, key, field.under)
        if field.itself and self.next.word in OPERATORS:
            return self._compare(name, None, field.itself)
        raise self.expected(f"what {name} can be asked, like {' or '.join(field.examples)}")

    def _field(self) -> tuple[str, Field]:
        token = self.next
        if token.kind != "word" or token.word in _KEYWORDS:
            raise self.expected(f'a field ({", ".join(FIELDS)}), "not" or "("')
        if token.word not in FIELDS:
            shown = line(token.written, _SHOWN)
            raise _refused(token.place, f"{shown} is no field; there are {', '.join(FIELDS)}")
        self._at += 1
        return token.word, FIELDS[token.word]

    def _compare(self, name: str, key: str | None, kind: Kind) -> Compare:
        operators = _EQUALITY if kind is Kind.NAME else OPERATORS
        token = self.next
        if token.word not in operators:
            raise self.expected(f"one of {' '.join(operators)}")
        self._at += 1
        return Compare(field=name, key=key, operator=token.word, value=self._value(kind))

    def _value(self, kind: Kind) -> str | int | float:
        token = self.next
        if token.kind == "number" and kind in (Kind.NUMBER, Kind.ANY):
            self._at += 1
            return _number(token)
        if token.kind == "text" and kind is not Kind.NUMBER:
            self._at += 1
            return _time(token) if kind is Kind.TIME else _unquoted(token)
        raise self.expected(kind.value)

    def _sought(self) -> str:
        token = self.next
        if token.kind != "text" or not _unquoted(token).strip():
            raise self.expected("a text in quotes that is not empty")
        self._at += 1
        return _unquoted(token)

    def _took(self, word: str) -> bool:
        taken = self.next.word == word
        self._at += taken
        return taken

    def _take(self, word: str, what: str) -> None:
        if not self._took(word):
            raise self.expected(what)


def _unquoted(token: _Token) -> str:
    quote, inner = token.written[0], token.written[1:-1]
    return inner.replace(quote * 2, quote)


def _number(token: _Token) -> int | float:
    digits = token.written.removeprefix("-")
    value = int(token.written) if digits.isdecimal() else float(token.written)
    if isinstance(value, int) and not -_LARGEST - 1 <= value <= _LARGEST:
        raise _refused(token.place, f"{line(token.written, _SHOWN)} needs more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(token.place, f"{line(token.written, _SHOWN)} is too large a number")
    return value


def _time(token: _Token) -> str:
    written = _unquoted(token)
    if _WEEK in written:
        raise _refused(token.place, f"expected {Kind.TIME.value}, got the week {line(written, _SHOWN)}")
    try:
        if len(written) <= len("2024-01-31"):
            return date.fromisoformat(written).isoformat()
        moment = datetime.fromisoformat(written)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as exc:
        raise _refused(token.place, f"expected {Kind.TIME.value}, got {line(written, _SHOWN)}") from exc
