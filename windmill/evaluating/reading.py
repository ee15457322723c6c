"""OCR: text that is drawn here, so that every letter is known."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from windmill.evaluating.asking import Answer
from windmill.evaluating.exam import Exam, Figure
from windmill.extras import needs

_LINES = (
    "Sphinx of black quartz, judge my vow!",
    "Open daily from 9:30 to 18:45",
    "Exit 27B: Bremen 315 km",
)
_SIZE, _PAPER = 24, (255, 255, 255)
_INK = (20, 20, 20)
_PAGE = (
    "Region-based segmentation Let us first determine markers of the coins and the background. These markers"
    " are pixels that we can label unambiguously as either object or background. Here, the markers are found"
    " at the two extreme parts of the histogram of grey values: >>> markers = np.zeros_like(coins)"
)  # what scikit-image's photo of a page says, but for half a line at its lower edge


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture with text: the group that its error counts in, and what is written on it."""

    group: str
    picture: bytes
    text: str


def measure(exam: Exam) -> Sequence[Figure]:
    """Character error rates: how many letters must be changed, put in or left out, for one of the text.

    Raises `ConfigError` without rapidfuzz.
    """
    distance = _distance()
    sheets = [*drawn(), *_photographed()]
    errors: dict[str, list[float]] = {}
    for sheet in exam.over(sheets):
        wrong = distance(_read(exam.asked.analyze(sheet.picture)), sheet.text) / len(sheet.text)
        errors.setdefault(sheet.group, []).append(wrong)
    means = {group: sum(rates) / len(rates) for group, rates in errors.items()}
    overall = sum(means.values()) / len(means)
    return (
        Figure("CER", overall, "errors in a character of text that is known; mean of the groups below"),
        *(Figure(f"CER {group}", rate, f"the same, {group}") for group, rate in means.items()),
    )


def drawn() -> Iterator[Sheet]:
    """Text in several sizes, turned, and pale."""
    for size in (10, 14, 24, 48):
        yield Sheet(f"of {size} pixels", _drawing(size=size), _text())
    for degrees in (5, 15):
        yield Sheet(f"turned by {degrees}°", _drawing(degrees=degrees), _text())
    for degrees, side in ((90, "left"), (-90, "right")):  # one line, as nobody knows which comes first
        yield Sheet(f"turned by 90° to the {side}", _drawing(_LINES[:1], degrees=degrees), _LINES[0])
    for ink in (150, 205):
        shade = (ink, ink, ink)
        yield Sheet(f"grey {ink} on white", _drawing(ink=shade), _text())
    yield Sheet("white on red", _drawing(ink=(255, 255, 255), paper=(190, 30, 40)), _text())


def _photographed() -> Iterator[Sheet]:
    """scikit-image's photo of a page, where that is installed."""
    try:
        data = importlib.import_module("skimage.data")
    except ModuleNotFoundError:
        return
    yield Sheet("a photographed page", _file(Image.fromarray(data.page())), _PAGE)


def _drawing(
    lines: Sequence[str] = _LINES,
    *,
    size: int = _SIZE,
    degrees: int = 0,
    ink: tuple[int, int, int] = _INK,
    paper: tuple[int, int, int] = _PAPER,
) -> bytes:
    font = ImageFont.load_default(size)
    wide = max(font.getbbox(line)[2] for line in lines)
    picture = Image.new("RGB", (round(wide) + 4 * size, 2 * size * (len(lines) + 1)), paper)
    pen = ImageDraw.Draw(picture)
    for n, line in enumerate(lines):
        pen.text((2 * size, 2 * size * n + size), line, ink, font=font)
    turned = picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=paper)
    return _file(turned)


def _file(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG")
    return file.getvalue()


def _text() -> str:
    return " ".join(_LINES)


def _read(answer: Answer) -> str:
    """What was read, with any white space as one blank: where lines end is no matter of letters."""
    return " ".join(answer.reply.text.split())


def _distance() -> Any:
    """Levenshtein's."""
    with needs("eval"):
        return importlib.import_module("rapidfuzz.distance.Levenshtein").distance
