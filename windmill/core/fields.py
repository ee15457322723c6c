"""What can be asked of an image in a condition: the table that the parser, the help and the docs go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a field can be compared with, in words for who wrote something else."""

    NUMBER = "a number"
    NAME = "a text in quotes, by = or !="
    TIME = "a day or a time in quotes, like '2024-01-31' or '2024-01-31T12:00+02:00'"
    ANY = "a number, or a text in quotes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What can be asked of an image: whether it holds something, what it is, and what it holds under a key.

    `about` is a sentence for people, `examples` are conditions in all forms that the field has.
    """

    about: str
    examples: tuple[str, ...]
    holds: bool = False
    itself: Kind | None = None
    under: Kind | None = None


FIELDS: Mapping[str, Field] = {
    "votes": Field(
        about="What won votes in the consensus, by emoji or by a word for it; under it, how many votes",
        examples=("votes ? '🚗'", "votes ? 'car'", "votes['🚗'] >= 3"),
        holds=True,
        under=Kind.NUMBER,
    ),
    "boxes": Field(
        about="Merged boxes that two services or more agree on, by emoji, label or class; under it, how many",
        examples=("boxes ? '🧑'", "boxes ? 'traffic light'", "boxes['person'] >= 2"),
        holds=True,
        under=Kind.NUMBER,
    ),
    "text": Field(
        about="The text that was read in the image, and whether it has this anywhere, in any case",
        examples=("text ? 'stop'",),
        holds=True,
    ),
    "captions": Field(
        about="What captioners say of the image, and whether one of them has this anywhere, in any case",
        examples=("captions ? 'beach'",),
        holds=True,
    ),
    "colours": Field(
        about="The palette, by Prismacolor or Copic name, Copic code or hex code, and the temperature of the"
        " main colour (warm, cool or neutral)",
        examples=("colours ? 'Poppy Red'", "colours ? 'B99'", "colours ? '#2f5b7c'", "colours ? 'warm'"),
        holds=True,
    ),
    "faces": Field(
        about="How many faces were found: in the whole image, or else in the boxes of people",
        examples=("faces >= 2",),
        itself=Kind.NUMBER,
    ),
    "nsfw": Field(
        about="How probable it is that the image is not safe for work, 0 to 1",
        examples=("nsfw < 0.1",),
        itself=Kind.NUMBER,
    ),
    "metadata": Field(
        about="What the file says of itself: an EXIF tag by its name, anything else as `section.name`",
        examples=("metadata['Make'] = 'Canon'", "metadata['gps.latitude'] > 50"),
        under=Kind.ANY,
    ),
    "group": Field(about="The group it was admitted to", examples=("group = 'coco2017'",), itself=Kind.NAME),
    "filename": Field(
        about="The file's name, whole or a part of it, the part in any case",
        examples=("filename = '000000000139.jpg'", "filename ? 'img_'"),
        holds=True,
        itself=Kind.NAME,
    ),
    "path": Field(
        about="The file's path, whole or a part of it, the part in any case",
        examples=("path = '/photos/2024/a.jpg'", "path ? '/2024/'"),
        holds=True,
        itself=Kind.NAME,
    ),
    "width": Field(about="Upright pixels", examples=("width >= 1920",), itself=Kind.NUMBER),
    "height": Field(about="Upright pixels", examples=("height < 1080",), itself=Kind.NUMBER),
    "created": Field(
        about="When it was admitted; a day is one of UTC, and so is a time without an offset",
        examples=("created >= '2024-01-01'", "created < '2024-01-01T12:00+02:00'"),
        itself=Kind.TIME,
    ),
    "id": Field(about="Its number in the index", examples=("id <= 1000",), itself=Kind.NUMBER),
}
