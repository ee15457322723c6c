"""Image files to upright pixels, with Pillow. Runs in decoders only: no file is trusted."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pillow_heif
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pictures

from windmill.decoding.jpeg import jpeg
from windmill.errors import ImageError, ImageTooLargeError
from windmill.model import Measured

pillow_heif.register_heif_opener()
# Our own limit is checked before anything is decoded; Pillow's guards what its plugins set aside before that.
# It refuses twice this number: more than MAX_IMAGE_MEGAPIXELS can be.
Pictures.MAX_IMAGE_PIXELS = 500_000_000
warnings.filterwarnings("ignore", category=Pictures.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd EXIF: the pixels are fine

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
# What every service reads; MPO is how phones write JPEG.
_AS_IS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP")
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")  # greys with more than 8 bits
_SMALL_QUALITY = 82
_MOST_EXIF = 65_000  # bytes that a JPEG has room for
_UNWRITABLE = (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error)
# EXIF 2.32, 4.6.4 A: what the tag Orientation says has to be done.
_TURNS = {
    2: Pictures.Transpose.FLIP_LEFT_RIGHT,
    3: Pictures.Transpose.ROTATE_180,
    4: Pictures.Transpose.FLIP_TOP_BOTTOM,
    5: Pictures.Transpose.TRANSPOSE,
    6: Pictures.Transpose.ROTATE_270,
    7: Pictures.Transpose.TRANSVERSE,
    8: Pictures.Transpose.ROTATE_90,
}


def inspect(data: bytes, most: int) -> Measured:
    """The size, and whether services can be sent the file. Raises `ImageError`, as `upright` would.

    What workers turn or convert is measured by its header, and not decoded: it may be damaged behind that.
    """
    with _opened(data, most) as picture:
        width, height = _upright_size(picture)
        as_is = _will_do(picture)
        if as_is:
            _check(picture)
        return Measured(width=width, height=height, as_is=as_is)


def upright(data: bytes, most: int) -> bytes:
    """A JPEG of what lies on its side or few can read; empty where the file will do. Raises `ImageError`."""
    with _opened(data, most) as picture:
        if _will_do(picture):
            _check(picture)  # a truncated file is found here and named, not by each service in its own way
            return b""
        return jpeg(_decode(picture), exif=_exif(picture), icc=_profile(picture))


def decode(data: bytes, most: int) -> tuple[int, int, bytes]:
    """Upright width, height and pixels in RGB. Raises `ImageError`."""
    with _opened(data, most) as picture:
        found = _decode(picture)
        return found.width, found.height, found.tobytes()


def small(data: bytes, most: int, longest: int) -> bytes:
    """An upright JPEG whose longer side has at most `longest` pixels. Raises `ImageError`.

    A JPEG is decoded no larger than needed (its eighth, quarter or half), twice as large as what is shown.
    """
    with _opened(data, most) as picture:
        picture.draft("RGB", (2 * longest, 2 * longest))
        found = _decode(picture)
        found.thumbnail((longest, longest), Pictures.Resampling.LANCZOS)
        return jpeg(found, icc=_profile(picture), quality=_SMALL_QUALITY)


@contextmanager
def _opened(data: bytes, most: int) -> Iterator[Pictures.Image]:
    """The picture, whose size was checked before anything is decoded."""
    with _translating(), Pictures.open(io.BytesIO(data), formats=FORMATS) as picture:
        if picture.width * picture.height > most:
            size = f"{picture.width}×{picture.height} pixels"
            raise ImageTooLargeError(f"{size} is more than {most / 1e6:g} megapixels (MAX_IMAGE_MEGAPIXELS)")
        yield picture


@contextmanager
def _translating() -> Iterator[None]:
    """Whatever a decoder throws at a broken file becomes an `ImageError`.

    Pillow promises no error class: OSError, SyntaxError, ValueError, struct.error, EOFError, zlib.error and
    more come out of its plugins, so this border is as broad as they are.
    """
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as exc:
        formats = ", ".join(FORMATS)
        raise ImageError(f"not an image that Windmill reads ({formats})") from exc
    except Pictures.DecompressionBombError as exc:
        raise ImageTooLargeError(f"too many pixels (MAX_IMAGE_MEGAPIXELS): {exc}") from exc
    except Exception as exc:
        raise ImageError(f"damaged: {exc or type(exc).__name__}") from exc


def _will_do(picture: Pictures.Image) -> bool:
    """Whether services can be sent the file, if it is whole."""
    return picture.format in _AS_IS and picture.mode not in _DEEP and _orientation(picture) == 1


def _check(picture: Pictures.Image) -> None:
    """Raises where the file is damaged."""
    picture.draft("L", (1, 1))  # of a JPEG, the eighth part that shows as well whether it is whole
    picture.load()


def _orientation(picture: Pictures.Image) -> int:
    """1 to 8 as in EXIF; 1 for whatever else stands there."""
    value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in _TURNS else 1


def _upright_size(picture: Pictures.Image) -> tuple[int, int]:
    width, height = picture.size
    if picture.format == "TIFF":  # whose size is turned or not, as Pillow's version will have it
        exif = picture.getexif()
        width, height = exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength]
    return (height, width) if _orientation(picture) >= 5 else (width, height)


def _decode(picture: Pictures.Image) -> Pictures.Image:
    """Upright and in RGB."""
    picture.load()  # which turns a TIFF, and takes its orientation away
    turn = _TURNS.get(_orientation(picture))
    return _opaque(picture if turn is None else picture.transpose(turn))


def _exif(picture: Pictures.Image) -> bytes:
    """EXIF without the orientation; nothing where that is damaged, or more than a JPEG holds."""
    exif = picture.getexif()
    exif.pop(ExifTags.Base.Orientation, None)
    try:
        written = exif.tobytes()
    except _UNWRITABLE:
        return b""
    return written if len(written) <= _MOST_EXIF else b""


def _profile(picture: Pictures.Image) -> bytes | None:
    """The ICC profile, if it speaks of RGB: what it says of CMYK or grey is wrong once these are RGB."""
    profile: bytes = picture.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else None  # ICC.1:2022, 7.2.6


def _shallow(picture: Pictures.Image) -> Pictures.Image:
    """A grey of more than 8 bits in 8: 16 bits by their upper half, others from their darkest to lightest."""
    wide = picture.mode.startswith("I;16")
    grey = picture.convert("I") if wide else picture
    low, high = (0.0, 65535.0) if wide else cast(tuple[float, float], grey.getextrema())  # of its one band
    scale = 255 / ((high - low) or 1)
    return grey.point(lambda value: value * scale - low * scale).convert("L")


def _opaque(picture: Pictures.Image) -> Pictures.Image:
    """In RGB, on white where it was transparent."""
    if picture.mode in _DEEP:
        return _shallow(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Pictures.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground
