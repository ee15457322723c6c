"""Pictures to ask a service about: a drawn scene, the ways a camera can lie, and what is odd and valid."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image as Pictures
from PIL import ImageDraw, ImageFilter, ImageFont

_SIZE = (640, 480)
_ORIENTATION = 0x0112  # the EXIF tag
_TURN = Pictures.Transpose

# How upright pixels are turned before they are stored, by EXIF orientation (CIPA DC-008, table 6).
TURNED: Mapping[int, Pictures.Transpose | None] = {
    1: None,
    2: _TURN.FLIP_LEFT_RIGHT,
    3: _TURN.ROTATE_180,
    4: _TURN.FLIP_TOP_BOTTOM,
    5: _TURN.TRANSPOSE,
    6: _TURN.ROTATE_90,
    7: _TURN.TRANSVERSE,
    8: _TURN.ROTATE_270,
}


class Photo:
    """An upright picture, and the files made of it, each once: many services are asked about them."""

    def __init__(self, picture: Pictures.Image) -> None:
        self.picture = picture
        self._files: dict[str, bytes] = {}

    @property
    def jpeg(self) -> bytes:
        return self._kept("jpeg", encoded)

    @property
    def twice(self) -> bytes:
        """With twice the pixels each way."""
        size = (2 * self.picture.width, 2 * self.picture.height)
        return self._kept("twice", lambda picture: encoded(picture.resize(size)))

    def lying(self, orientation: int) -> bytes:
        """As a camera that was held otherwise would have stored it, with the EXIF tag for it."""
        return self._kept(f"lying {orientation}", lambda picture: _lying(picture, orientation))

    def odd(self, name: str) -> bytes:
        """In one of the `ODD` formats."""
        return self._kept(name, ODD[name][1])

    def _kept(self, name: str, make: Callable[[Pictures.Image], bytes]) -> bytes:
        if name not in self._files:
            self._files[name] = make(self.picture)
        return self._files[name]


def drawn() -> Pictures.Image:
    """A road, a stop sign and a person: small detectors, a face detector and an OCR find something in it."""
    picture = Pictures.new("RGB", _SIZE)
    draw = ImageDraw.Draw(picture)
    width, height = _SIZE
    for y in range(height):
        share = y / height
        sky = (int(120 + 90 * share), int(170 + 50 * share), int(235 - 20 * share))
        draw.line([(0, y), (width, y)], fill=sky)
    draw.polygon([(0, 330), (160, 300), (360, 325), (640, 290), (640, 480), (0, 480)], fill=(86, 122, 60))
    draw.polygon([(250, 480), (330, 318), (360, 318), (560, 480)], fill=(96, 96, 100))
    _stop_sign(draw, 190, 170, 95)
    _person(draw, 460, 190)
    return picture.filter(ImageFilter.GaussianBlur(1))


def _stop_sign(draw: ImageDraw.ImageDraw, x: int, y: int, radius: int) -> None:
    def octagon(r: float) -> list[tuple[float, float]]:
        angles = [math.pi / 8 + n * math.pi / 4 for n in range(8)]
        return [(x + r * math.cos(angle), y + r * math.sin(angle)) for angle in angles]

    white = (250, 250, 250)
    draw.rectangle([x - 6, y, x + 6, 420], fill=(120, 120, 125))
    draw.polygon(octagon(radius), fill=white)
    draw.polygon(octagon(radius - 7), fill=(190, 20, 32))
    font = ImageFont.load_default(58)
    draw.text((x, y), "STOP", font=font, fill=white, anchor="mm", stroke_width=2, stroke_fill=white)


def _person(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    skin, dark = (225, 175, 145), (60, 40, 30)
    shoulders = [(x - 130, 300), (x - 40, y + 105), (x + 40, y + 105), (x + 130, 300)]
    draw.ellipse([x - 75, y - 110, x + 75, y + 70], fill=(70, 45, 30))
    draw.rectangle([x - 26, y + 60, x + 26, y + 130], fill=(205, 155, 125))
    draw.polygon([*shoulders, (x + 140, 480), (x - 140, 480)], fill=(40, 70, 130))
    draw.ellipse([x - 62, y - 85, x + 62, y + 95], fill=skin)
    for eye in (x - 26, x + 26):
        draw.ellipse([eye - 14, y - 14, eye + 14, y + 4], fill=(250, 250, 250))
        draw.ellipse([eye - 7, y - 13, eye + 7, y + 3], fill=dark)
        draw.arc([eye - 18, y - 36, eye + 18, y - 10], 200, 340, fill=dark, width=5)
    draw.polygon([(x - 2, y), (x - 12, y + 36), (x + 12, y + 36)], fill=(205, 150, 120))
    draw.ellipse([x - 26, y + 50, x + 26, y + 68], fill=(180, 70, 75))


def encoded(picture: Pictures.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file; a JPEG in high quality, so that what is in it stays where it is."""
    file = io.BytesIO()
    best = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    picture.save(file, kind, **(best | options))
    return file.getvalue()


def _lying(picture: Pictures.Image, orientation: int) -> bytes:
    exif = Pictures.Exif()
    exif[_ORIENTATION] = orientation
    turn = TURNED[orientation]
    return encoded(picture if turn is None else picture.transpose(turn), exif=exif)


def animated(picture: Pictures.Image) -> bytes:
    """Three frames, of which the first is the picture."""
    others = [picture.transpose(_TURN.ROTATE_180), picture.transpose(_TURN.FLIP_LEFT_RIGHT)]
    return encoded(picture.quantize(64), "GIF", save_all=True, append_images=others, duration=100)


def deep(picture: Pictures.Image) -> bytes:
    """16 bits of grey a pixel."""
    return encoded(picture.convert("L").convert("I").point(lambda value: value * 257).convert("I;16"), "PNG")


def see_through(picture: Pictures.Image, kind: str) -> bytes:
    """With an alpha channel that fades from left to right."""
    faded = picture.convert("RGBA")
    faded.putalpha(Pictures.linear_gradient("L").rotate(90).resize(picture.size))
    return encoded(faded, kind)


def _plain(width: int, height: int) -> bytes:
    return encoded(Pictures.new("RGB", (width, height), (90, 120, 150)), "PNG")


# What is odd and valid: a service answers it, or says in a contract error that it will not.
ODD: Mapping[str, tuple[str, Callable[[Pictures.Image], bytes]]] = {
    "animated-gif": ("an animated GIF", animated),
    "cmyk-jpeg": ("a CMYK JPEG", lambda picture: encoded(picture.convert("CMYK"))),
    "grey-jpeg": ("a grey JPEG", lambda picture: encoded(picture.convert("L"))),
    "16-bit-png": ("a PNG with 16 bits of grey", deep),
    "palette-png": ("a PNG with a palette", lambda picture: encoded(picture.quantize(64), "PNG")),
    "alpha-png": ("a PNG with an alpha channel", lambda picture: see_through(picture, "PNG")),
    "alpha-webp": ("a WebP with an alpha channel", lambda picture: see_through(picture, "WEBP")),
    "one-pixel": ("an image of 1×1 pixels", lambda _: _plain(1, 1)),
    "one-row": ("an image of 20000×1 pixels", lambda _: _plain(20_000, 1)),
    "one-column": ("an image of 1×20000 pixels", lambda _: _plain(1, 20_000)),
}


@functools.cache
def too_many_pixels() -> bytes:
    """51 megapixels in a small file."""
    return encoded(Pictures.new("1", (8500, 6000)), "PNG")
