"""Image files: read, checked, turned upright, cropped. The one place that decodes pictures for workers."""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import pillow_heif
from PIL import ExifTags, UnidentifiedImageError
from PIL import Image as Pictures

from windmill.addresses import WebAddresses
from windmill.core.urls import shown
from windmill.errors import ImageError, ImageTooLargeError
from windmill.files import read_file, sized
from windmill.model import Image
from windmill.settings import Settings

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
_QUALITY = 95
_MOST_EXIF = 65_000  # bytes that a JPEG has room for
_UNWRITABLE = (AttributeError, LookupError, OverflowError, TypeError, ValueError, struct.error)
_KEPT = 4  # decoded images that a worker keeps: the boxes of one image come one after another
_STRIPES = 16

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
Value = TypeVar("Value")


class ImageFiles:
    """A `ports.ImageSource` over files and URLs. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._most_bytes = int(settings.max_image_mb * 1_000_000)
        self._roots = settings.image_roots
        self._web = WebAddresses(settings.allow_private_urls)
        self._most_pixels = int(settings.max_image_megapixels * 1_000_000)
        self._decoded: OrderedDict[int, Pictures.Image] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = tuple(threading.Lock() for _ in range(_STRIPES))

    def read(self, image: Image) -> bytes:
        """The file as it is. Raises `ImageError`."""
        if image.path is not None:
            return read_file(Path(image.path), self._most_bytes, self._roots)
        return sized(_name(image), self._web.read(str(image.url), self._most_bytes), self._most_bytes)

    def upright(self, image: Image) -> bytes:
        """See `ports.ImageSource`: the file itself unless it lies on its side or few can read it."""
        data = self.read(image)
        return self._examine(_name(image), data, lambda picture: _upright_file(picture, data))

    def crop(self, image: Image, left: int, top: int, right: int, bottom: int) -> bytes:
        """See `ports.ImageSource`."""
        picture = self._picture(image)
        bounds = (max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom))
        if bounds[0] >= bounds[2] or bounds[1] >= bounds[3]:
            size = f"{picture.width}×{picture.height}"
            raise ImageError(
                f"{_name(image)}: box {left, top, right, bottom} lies outside of its {size} pixels"
            )
        return _jpeg(picture.crop(bounds))

    def decode(self, name: str, data: bytes) -> Pictures.Image:
        """The picture upright and in RGB. Raises `ImageError`."""
        return self._examine(name, sized(name, data, self._most_bytes), _decode)

    def inspect(self, name: str, data: bytes) -> tuple[int, int]:
        """Upright width and height in pixels, from the header if it tells. Raises `ImageError`."""
        return self._examine(name, data, _upright_size)

    def _picture(self, image: Image) -> Pictures.Image:
        """Decoded, upright, in RGB; threads that want the same image wait for the one that decodes it."""
        with self._turns[image.image_id % _STRIPES]:
            picture = self._remembered(image.image_id)
            if picture is None:
                picture = self.decode(_name(image), self.read(image))
                self._remember(image.image_id, picture)
            return picture

    def _remembered(self, image_id: int) -> Pictures.Image | None:
        with self._lock:
            if image_id in self._decoded:
                self._decoded.move_to_end(image_id)
            return self._decoded.get(image_id)

    def _remember(self, image_id: int, picture: Pictures.Image) -> None:
        """Keeps a few, which together are no larger than one image may be."""
        with self._lock:
            self._decoded[image_id] = picture
            while len(self._decoded) > 1 and (len(self._decoded) > _KEPT or self._pixels > self._most_pixels):
                self._decoded.popitem(last=False)

    @property
    def _pixels(self) -> int:
        return sum(one.width * one.height for one in self._decoded.values())

    def _examine(self, name: str, data: bytes, look: Callable[[Pictures.Image], Value]) -> Value:
        """What `look` makes of the opened picture, whose size was checked before anything is decoded."""
        with _translating(name), Pictures.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > self._most_pixels:
                size = f"{picture.width}×{picture.height} pixels"
                limit = f"{self._most_pixels / 1e6:g} megapixels (MAX_IMAGE_MEGAPIXELS)"
                raise ImageTooLargeError(f"{name}: {size} is more than {limit}")
            return look(picture)


@contextmanager
def _translating(name: str) -> Iterator[None]:
    """Whatever a decoder throws at a broken file becomes an `ImageError`.

    Pillow promises no error class: OSError, SyntaxError, ValueError, struct.error, EOFError, zlib.error and
    more come out of its plugins, so this border is as broad as they are.
    """
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as exc:
        formats = ", ".join(FORMATS)
        raise ImageError(f"{name}: not an image that Windmill reads ({formats})") from exc
    except Pictures.DecompressionBombError as exc:
        raise ImageTooLargeError(f"{name}: too many pixels (MAX_IMAGE_MEGAPIXELS): {exc}") from exc
    except Exception as exc:
        raise ImageError(f"{name}: damaged: {exc or type(exc).__name__}") from exc


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


def _upright_file(picture: Pictures.Image, data: bytes) -> bytes:
    if picture.format in _AS_IS and picture.mode not in _DEEP and _orientation(picture) == 1:
        picture.draft("L", (1, 1))  # of a JPEG, the eighth part that shows as well whether it is whole
        picture.load()  # a truncated file is found here and named, not by each service in its own way
        return data
    return _jpeg(_decode(picture), exif=_exif(picture), icc=_profile(picture))


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


def _jpeg(picture: Pictures.Image, exif: bytes = b"", icc: bytes | None = None) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, exif=exif, icc_profile=icc)
    return file.getvalue()


def _name(image: Image) -> str:
    return image.path or shown(str(image.url))
