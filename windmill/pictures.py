"""Annotated pictures: photos with boxes, faces, labels and a legend drawn on them."""

from __future__ import annotations

import contextlib
import math
import unicodedata
from functools import cache
from pathlib import Path

from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from windmill import scenes
from windmill.core.geometry import pixel_bounds
from windmill.core.lettering import Place, place
from windmill.findings import Findings
from windmill.images import ImageFiles
from windmill.model import Box, Image
from windmill.scenes import Colour, Entry, Outline, Scene

_LONGEST, _SHORTEST = 1600, 960  # pixels of a picture's longer side; smaller photos are enlarged to be read
_CROWDS = (15, 50)  # labels beyond which each says less, in smaller letters: no photo is hidden under words
_FACE: Colour = (255, 214, 10)
_HALO = (0, 0, 0, 150)  # around what is drawn, so that it is seen on a ground of its own colour
_PAPER, _INK = (24, 24, 27), (240, 240, 240)  # of the legend
# Fonts that systems bring, asked for what Pillow's own, which knows English, cannot write.
_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Corners = tuple[float, float, float, float]


def annotate(files: ImageFiles, findings: Findings, target: Path) -> None:
    """Writes the photo with what was found in it as a JPEG. Raises `ImageError`."""
    source = Image(image_id=findings.image_id, path=findings.path)
    photo = files.decode(str(findings.path), files.read(source))
    draw(photo, scenes.of_findings(findings)).save(target, "JPEG", quality=90)


def draw(photo: Pictures.Image, scene: Scene) -> Pictures.Image:
    """The photo, or a part of it, with the scene drawn on it: at most 1600 pixels, and a legend."""
    left, top, right, bottom = _window(photo, scene)
    scale = _scale(right - left, bottom - top)
    size = max(1, round(scale * (right - left))), max(1, round(scale * (bottom - top)))
    picture = photo.resize(size, Pictures.Resampling.LANCZOS, box=(left, top, right, bottom))
    brush = _Brush(picture, (left, top), scale)
    for outline in reversed(scene.outlines):
        brush.outline(outline)
    for face in scene.faces:
        brush.face(face)
    brush.label([outline for outline in scene.outlines if outline.captions])
    return _with_legend(picture, scene.legend, brush.text) if scene.legend else picture


def _window(photo: Pictures.Image, scene: Scene) -> tuple[int, int, int, int]:
    """The pixels to show."""
    for view in scene.view:
        left, top, right, bottom = pixel_bounds(view)
        return max(0, left), max(0, top), min(photo.width, right), min(photo.height, bottom)
    return 0, 0, photo.width, photo.height


def _scale(width: int, height: int) -> float:
    longest = max(width, height)
    return min(1.0, _LONGEST / longest) if longest > _SHORTEST else _SHORTEST / longest


class _Brush:
    """Draws on a picture that shows a photo from `origin` on, enlarged by `scale`."""

    def __init__(self, picture: Pictures.Image, origin: tuple[float, float], scale: float) -> None:
        self._draw = ImageDraw.Draw(picture, "RGBA")
        self._size, self._origin, self._scale = picture.size, origin, scale
        middle = math.sqrt(picture.width * picture.height)
        self._stroke = max(3, round(middle / 220))
        self.text = min(34.0, max(14.0, middle / 40))  # height of letters, in pixels

    def outline(self, outline: Outline) -> None:
        corners = self._corners(outline.box)
        stroke = max(2, round(self._stroke / 2)) if outline.thin else self._stroke
        self._draw.rectangle(_grown(corners, 1), outline=_HALO, width=stroke + 2)
        self._draw.rectangle(corners, outline=outline.colour, width=stroke)

    def face(self, face: Box) -> None:
        corners = self._corners(face)
        self._draw.ellipse(_grown(corners, 1), outline=_HALO, width=self._stroke + 2)
        self._draw.ellipse(corners, outline=_FACE, width=self._stroke)

    def label(self, outlines: list[Outline]) -> None:
        """Every label on a ground of its box's colour; the first ones choose where."""
        crowded = sum(len(outlines) > many for many in _CROWDS)
        height = self.text * (0.75 if crowded else 1.0)
        pad = max(2, round(height / 5))
        corners = [self._corners(outline.box) for outline in outlines]
        texts = [
            [_Text(caption, height) for caption in outline.captions[crowded:] or outline.captions[-1:]]
            for outline in outlines
        ]
        sizes = [[(one.width + 2 * pad, one.height + pad) for one in some] for some in texts]
        places = place(corners, sizes, self._size)
        for outline, some, sized, at in reversed(list(zip(outlines, texts, sizes, places, strict=True))):
            self._write(some[at.text], sized[at.text], at, outline.colour, pad)

    def _write(self, text: _Text, size: tuple[float, float], at: Place, colour: Colour, pad: int) -> None:
        ground = (at.left, at.top, at.left + size[0] - 1, at.top + size[1] - 1)
        self._draw.rounded_rectangle(ground, radius=pad, fill=(*colour, 235))
        red, green, blue = colour
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 130  # luma, ITU-R BT.601
        text.write(self._draw, (at.left + pad, at.top + pad / 2), "black" if bright else "white")

    def _corners(self, box: Box) -> Corners:
        """Left, top, right, bottom in the picture, not far outside: Pillow walks every pixel of a shape."""
        far = 4 * self._stroke
        left, right = (
            min(max(self._scale * (value - self._origin[0]), -far), self._size[0] + far)
            for value in (box.x, box.x + box.width)
        )
        top, bottom = (
            min(max(self._scale * (value - self._origin[1]), -far), self._size[1] + far)
            for value in (box.y, box.y + box.height)
        )
        return left, top, right, bottom


def _grown(corners: Corners, by: float) -> Corners:
    left, top, right, bottom = corners
    return left - by, top - by, right + by, bottom + by


def _with_legend(picture: Pictures.Image, entries: tuple[Entry, ...], height: float) -> Pictures.Image:
    """The picture above a strip that says what its lines are; wider than the picture where words need it."""
    texts = [_Text(entry.text, height) for entry in entries]
    step, swatch = round(1.6 * height), round(1.5 * height)
    width = max(picture.width, 2 * step + swatch + round(max(text.width for text in texts)))
    paper = Pictures.new("RGB", (width, picture.height + step * (len(entries) + 1)), _PAPER)
    paper.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(paper)
    for row, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        top = picture.height + step // 2 + row * step
        middle, thick = top + step // 2, max(2, round(height / 6))
        draw.rectangle((step // 2, middle - thick, step // 2 + swatch, middle + thick), fill=entry.colour)
        text.write(draw, (step + swatch, top + (step - text.height) / 2), _INK)
    return paper


class _Text:
    """Words in a font that can write them."""

    def __init__(self, words: str, height: float) -> None:
        self._font, self._words = _fitting(words, round(height))
        self.width = self._font.getbbox(self._words)[2]
        self.height = self._font.getbbox("Ágjp")[3]

    def write(self, draw: ImageDraw.ImageDraw, at: tuple[float, float], ink: str | Colour) -> None:
        draw.text(at, self._words, fill=ink, font=self._font)


def _fitting(words: str, size: int) -> tuple[Font, str]:
    """The first font that has all of the words' letters, else Pillow's and what it can write of them."""
    fonts = _fonts(size)
    for font in fonts:
        if all(_has(font, letter) for letter in words):
            return font, words
    return fonts[0], "".join(letter if _has(fonts[0], letter) else _spelled(letter) for letter in words)


def _spelled(letter: str) -> str:
    """`e` for `é`, `cat` for 🐈, `?` for what has no English name of any use."""
    plain = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    if plain or unicodedata.category(letter) in ("Mn", "Cf"):
        return plain
    return unicodedata.name(letter, "?").lower() if unicodedata.category(letter) == "So" else "?"


@cache
def _fonts(size: int) -> tuple[Font, ...]:
    """Pillow's own, and those of `_FONTS` that this system has."""
    found: list[Font] = [ImageFont.load_default(size=size)]
    for name in _FONTS:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return tuple(found)


@cache
def _has(font: Font, letter: str) -> bool:
    """Whether a font has a letter, and not only its sign for what it lacks."""
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
