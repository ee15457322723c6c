"""Annotated pictures: each photo with its merged boxes and faces drawn on it."""

from __future__ import annotations

import colorsys
import hashlib
from pathlib import Path

from PIL import ImageDraw, ImageFont

from windmill.findings import Findings
from windmill.images import ImageFiles
from windmill.model import Box, Image
from windmill.plain import line

_LONGEST = 1600  # pixels of an annotated picture
_LONGEST_LABEL = 40  # characters
_FARTHEST = 10_000  # pixels from the corner
_FACE = (255, 214, 10)


def annotate(files: ImageFiles, findings: Findings, target: Path) -> None:
    """Writes the photo with what was found in it as a JPEG. Raises `ImageError`."""
    source = Image(image_id=findings.image_id, path=findings.path)
    picture = files.decode(str(findings.path), files.read(source))
    scale = min(1.0, _LONGEST / max(picture.size))
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    stroke = max(2, round(max(picture.size) / 300))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=max(11, round(max(picture.size) / 48)))
    for found in reversed(findings.boxes):
        agreed = f"{found.detection_count} agree" if found.detection_count > 1 else "1 alone"
        caption = f"{line(found.label, _LONGEST_LABEL)} {found.score:.2f} · {agreed}"
        _box(draw, _scaled(found.box, scale), _colour(found.label), stroke, caption, font)
    for face in findings.faces:
        draw.ellipse(_scaled(face, scale), outline=_FACE, width=stroke)
    picture.save(target, "JPEG", quality=90)


def _box(
    draw: ImageDraw.ImageDraw,
    corners: tuple[float, float, float, float],
    colour: tuple[int, int, int],
    stroke: int,
    caption: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """A rectangle, and its caption on a ground of its colour, inside where there is no room above."""
    left, top, _, _ = corners
    draw.rectangle(corners, outline=colour, width=stroke)
    _, _, width, height = draw.textbbox((0, 0), caption, font=font)
    pad = 2 * stroke
    above = top - height - pad
    at = (left, above if above >= 0 else top)
    draw.rectangle((*at, at[0] + width + pad, at[1] + height + pad), fill=colour)
    red, green, blue = colour
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 130  # luma, ITU-R BT.601
    draw.text((at[0] + stroke, at[1] + stroke), caption, fill="black" if bright else "white", font=font)


def _scaled(box: Box, scale: float) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in the picture, and not far outside: Pillow walks every pixel of a shape."""
    corners = (box.x, box.y, box.x + box.width, box.y + box.height)
    left, top, right, bottom = (min(max(scale * value, -_FARTHEST), _FARTHEST) for value in corners)
    return left, top, right, bottom


def _colour(label: str) -> tuple[int, int, int]:
    """A strong colour that is always the same for a label."""
    hue = int.from_bytes(hashlib.sha256(label.encode()).digest()[:2]) / 65536
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
