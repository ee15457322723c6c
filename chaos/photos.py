"""Small distinct photos, a tenth of them marked: with those, some cases do what should end as a failure."""

from __future__ import annotations

from pathlib import Path

import numpy
from PIL import Image

from chaos.answers import HEIGHT, WIDTH

MARK = b"windmill chaos: marked"
PLAIN, MARKED = "plain", "marked"  # folders, and groups in the table of images


def make(folder: Path, count: int) -> None:
    """`count` JPEGs in two folders; the same ones every time."""
    for group in (PLAIN, MARKED):
        (folder / group).mkdir(parents=True)
    for number in range(count):
        grid = numpy.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=numpy.uint8)
        picture = Image.fromarray(grid).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        group = MARKED if is_marked(number) else PLAIN
        note = {"comment": MARK} if group == MARKED else {}
        picture.save(folder / group / name(number), "JPEG", quality=80, **note)


def name(number: int) -> str:
    return f"photo-{number:04}.jpg"


def is_marked(number: int) -> bool:
    return number % 10 == 3


def marked(count: int) -> tuple[str, ...]:
    """Names of the marked ones among `count`."""
    return tuple(name(number) for number in range(count) if is_marked(number))
