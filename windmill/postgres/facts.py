"""What the pipeline knows of images, as a search asks for it: which meet a condition, and all about a few."""

from __future__ import annotations

import json
import operator as compare
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any as Whatever

import numpy as np
import numpy.typing as npt
from psycopg2 import sql

from windmill.core import senses
from windmill.core.senses import Meant
from windmill.core.where import All, Any, Compare, Condition, Has, Not
from windmill.errors import ConfigError
from windmill.findings import Findings
from windmill.model import Image, Numbering, content_number
from windmill.postgres.connection import Session
from windmill.postgres.findings import CAPTIONERS, found
from windmill.postgres.queries import composed, queries, query
from windmill.settings import Settings

Ids = npt.NDArray[np.int64]

_OPERATORS = {
    "=": sql.SQL("="), "!=": sql.SQL("<>"),
    "<": sql.SQL("<"), "<=": sql.SQL("<="), ">": sql.SQL(">"), ">=": sql.SQL(">="),
}  # fmt: skip
_COMPARE: Mapping[str, Callable[[Whatever, Whatever], bool]] = {
    "=": compare.eq, "!=": compare.ne,
    "<": compare.lt, "<=": compare.le, ">": compare.gt, ">=": compare.ge,
}  # fmt: skip
_NUMBERS = {Numbering.IMAGES: "number_images", Numbering.CONTENT: "number_content"}
_PARTS = ("box", "said", "captioner", "count", "entry")  # what statements have in common
_HASH = 32  # bytes of a sha256
_LARGEST = (1 << 63) - 1
_DAY = len("2024-01-31")


class PostgresFacts:
    """A `searching.Facts`, and what is known of its hits. For an account that may only read."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._session = Session(settings, name)

    def matching(self, where: Condition, numbering: Numbering) -> Ids:
        """The numbers of all images that meet a condition, ascending.

        Of what is not known, nothing holds, nor does its contrary: an image that no detector has looked at
        is none with a car, and none without.
        """
        statement, values = _selection(where, numbering)
        with self._session.transaction() as cursor:
            cursor.execute(query("without_compiler"))
            cursor.execute(statement, values)
            numbers = np.fromiter((number for (number,) in cursor), np.int64, cursor.rowcount)
        return np.sort(numbers)

    def of(self, ids: Iterable[int], numbering: Numbering) -> Mapping[int, Findings]:
        """What was found in each of these images, by its number, which is its `image_id` there, too; those
        that the database does not have are left out."""
        with self._session.transaction() as cursor:
            numbers = _images(cursor, ids, numbering)
            cursor.execute(
                composed("findings", images="of_images", said="said", captioner="captioner"),
                {"image_ids": list(numbers), "captioners": CAPTIONERS},
            )
            rows = [found(row) for row in cursor.fetchall()]
        return {numbers[one.image_id]: replace(one, image_id=numbers[one.image_id]) for one in rows}

    def image(self, number: int, numbering: Numbering) -> Image:
        """Where an image's bytes are. Raises `ConfigError` where there is none of this number."""
        with self._session.transaction() as cursor:
            for image_id in _images(cursor, [number], numbering):
                cursor.execute(query("image"), {"image_id": image_id})
                for _, path, url, as_is in cursor.fetchall():
                    return Image(image_id=image_id, path=path, url=url, as_is=as_is)
        raise ConfigError(f"image {number} is not in the database")

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()


def _images(cursor: Whatever, ids: Iterable[int], numbering: Numbering) -> Mapping[int, int]:
    """`images.image_id` → the number, of what may be numbers."""
    numbers = [int(number) for number in ids if 0 <= number <= _LARGEST]
    if numbering is Numbering.IMAGES:
        return {number: number for number in numbers}
    cursor.execute(query("numbered_by_content"), _hashes(numbers))
    return {image_id: content_number(bytes(content_hash)) for content_hash, image_id in cursor.fetchall()}


def _hashes(numbers: Sequence[int]) -> Mapping[str, list[bytes]]:
    """The first and the last hash with each of these numbers, which say nothing of a hash's first bit."""
    starts = [(bit << 63 | number).to_bytes(8, "big") for number in numbers for bit in (0, 1)]
    return {"first": starts, "last": [start.ljust(_HASH, b"\xff") for start in starts]}


# --- a condition as SQL ------------------------------------------------------------------------------------


def _selection(where: Condition, numbering: Numbering) -> tuple[sql.Composable, Mapping[str, Whatever]]:
    """The statement that asks for a condition, and its parameters, which hold all that a person wrote."""
    writer = _Writer(number=sql.SQL(query(_NUMBERS[numbering])))
    condition = writer.condition(where, wanted=True)
    return sql.SQL(query("matching")).format(number=writer.number, condition=condition), writer.values


@dataclass(frozen=True, slots=True)
class _Writer:
    """Puts named statements together, and collects their parameters in `values`."""

    number: sql.Composable
    values: dict[str, Whatever] = field(default_factory=lambda: {"captioners": CAPTIONERS})

    def condition(self, where: Condition, *, wanted: bool) -> sql.Composable:
        """Whether a condition is `wanted`: its `not`s are passed on to the statements (De Morgan), of which
        each can be false by itself, for that is not the same as not true."""
        match where:
            case Not(of):
                return self.condition(of, wanted=not wanted)
            case All(of) | Any(of):
                joint = sql.SQL(" AND " if isinstance(where, All) is wanted else " OR ")
                return sql.SQL("({})").format(joint.join(self.condition(one, wanted=wanted) for one in of))
            case Has():
                return self._holds(where, wanted)
            case Compare(key=str()):
                return self._under(where, wanted)
            case Compare():
                return self._compared(_itself(where), where, wanted)
        raise AssertionError(f"{where!r} is no condition")

    def _holds(self, where: Has, wanted: bool) -> sql.Composable:
        meant = senses.meant(where.value)
        name = _votes(meant) if where.field == "votes" else where.field
        return self._statement(f"{name}_holds", wanted, value=where.value, **_given(where.value, meant))

    def _under(self, where: Compare, wanted: bool) -> sql.Composable:
        key = str(where.key)
        if where.field == "metadata":
            kind = "text" if isinstance(where.value, str) else "number"
            return self._compared(f"metadata_{kind}", where, wanted, path=_path(key))
        meant = senses.meant(key)
        name = _votes(meant) if where.field == "votes" else where.field
        counted = self._compared(f"{name}_under", where, wanted, **_given(key, meant))
        if name != "votes" or wanted is _COMPARE[where.operator](0, where.value):
            return counted
        some = self._holds(Has(field="votes", value=key), wanted=True)  # which has an index
        return sql.SQL("({some} AND {counted})").format(some=some, counted=counted)

    def _compared(self, name: str, where: Compare, wanted: bool, **values: Whatever) -> sql.Composable:
        return self._statement(name, wanted, operator=where.operator, value=where.value, **values)

    def _statement(
        self, name: str, wanted: bool, *, operator: str = "=", **values: Whatever
    ) -> sql.Composable:
        contrary = f"{name}_not"
        text = query(contrary if not wanted and contrary in queries() else name)
        gaps = {"number": self.number, "operator": _OPERATORS[operator]}
        for gap, value in {"wanted": wanted, **values}.items():
            gaps[gap] = sql.Placeholder(self._bound(value))
        parts = {part: sql.SQL(query(part)).format(**gaps) for part in _PARTS if f"{{{part}}}" in text}
        return sql.SQL("({})").format(sql.SQL(text).format(**gaps, **parts))

    def _bound(self, value: Whatever) -> str:
        name = f"value_{len(self.values)}"
        self.values[name] = value
        return name


def _votes(meant: Meant) -> str:
    """Votes are for emoji: a word stands for its own; one without is looked for behind the votes."""
    return "votes" if meant.emoji else "votes_named"


def _path(key: str) -> list[str]:
    """Where a metadata reply has an entry: an EXIF tag where no section is named."""
    section, _, name = key.rpartition(".")
    return [*(section.split(".") if section else ["exif"]), name]


def _given(said: str, meant: Meant) -> Mapping[str, Whatever]:
    """What votes, boxes and colours may call it: the emoji alone, and all as JSON."""
    code = f"{said.strip().upper()} "  # Copic's, which stands before the colour's name
    return {
        "emoji": list(meant.emoji),
        "meant": json.dumps({**asdict(meant), "code": code}, ensure_ascii=False),
    }


def _itself(where: Compare) -> str:
    """`created = '2024-01-31'` is true all day."""
    of_a_day = where.field == "created" and len(str(where.value)) == _DAY
    return "created_day" if of_a_day else f"{where.field}_is"
