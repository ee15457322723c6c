"""Image files: read, checked, turned upright, cropped. The one place that decodes pictures for workers."""

from __future__ import annotations

import io
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pillow_heif
import requests
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as Pictures

from windmill.errors import ImageError, ImageTooLargeError
from windmill.model import Image
from windmill.settings import Settings

pillow_heif.register_heif_opener()
Pictures.MAX_IMAGE_PIXELS = None  # our own limit is checked first, and is an error rather than a warning
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # odd EXIF: the pixels are fine

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
_AS_IS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # what every service reads
_QUALITY = 95
_KEPT = 4  # decoded images that a worker keeps: the boxes of one image come one after another
_URL_TIMEOUT = 30.0  # seconds
_CHUNK = 1 << 16

Value = TypeVar("Value")


class ImageFiles:
    """A `ports.ImageSource` over files and URLs. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._most_bytes = int(settings.max_image_mb * 1_000_000)
        self._most_pixels = int(settings.max_image_megapixels * 1_000_000)
        self._decoded: OrderedDict[int, Pictures.Image] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, image: Image) -> bytes:
        """The file as it is. Raises `ImageError`."""
        if image.path is not None:
            return read_file(Path(image.path), self._most_bytes)
        return read_url(str(image.url), self._most_bytes)

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
        return self._examine(name, _sized(name, data, self._most_bytes), _decode)

    def inspect(self, name: str, data: bytes) -> tuple[int, int]:
        """Upright width and height in pixels, from the header alone. Raises `ImageError`."""
        return self._examine(name, data, _upright_size)

    def _picture(self, image: Image) -> Pictures.Image:
        """Decoded, upright, in RGB."""
        with self._lock:
            if image.image_id in self._decoded:
                self._decoded.move_to_end(image.image_id)
                return self._decoded[image.image_id]
        picture = self.decode(_name(image), self.read(image))
        with self._lock:
            self._decoded[image.image_id] = picture
            if len(self._decoded) > _KEPT:
                self._decoded.popitem(last=False)
        return picture

    def _examine(self, name: str, data: bytes, look: Callable[[Pictures.Image], Value]) -> Value:
        """What `look` makes of the opened picture, whose size was checked before anything is decoded."""
        with _translating(name), Pictures.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > self._most_pixels:
                size = f"{picture.width}×{picture.height} pixels"
                limit = f"{self._most_pixels / 1e6:g} megapixels (MAX_IMAGE_MEGAPIXELS)"
                raise ImageTooLargeError(f"{name}: {size} is more than {limit}")
            return look(picture)


def read_file(path: Path, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes. Raises `ImageError`."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as exc:
        raise ImageError(f"{path}: cannot read it: {exc.strerror}; is it on this machine too?") from exc
    return _sized(str(path), data, most)


def read_url(url: str, most: int, *, redirects: bool = True) -> bytes:
    """The body at an http or https address, of at most `most` bytes. Raises `ImageError`."""
    if not url.startswith(("http://", "https://")):
        raise ImageError(f"{url}: expected http:// or https://")
    try:
        with requests.get(url, timeout=_URL_TIMEOUT, stream=True, allow_redirects=redirects) as response:
            if response.status_code != requests.codes.ok:
                raise ImageError(f"{url}: the server answered {response.status_code}")
            data = b""
            for chunk in response.iter_content(_CHUNK):
                data += chunk
                if len(data) > most:
                    break
    except requests.RequestException as exc:
        raise ImageError(f"{url}: cannot fetch it: {exc}") from exc
    return _sized(url, data, most)


def _sized(name: str, data: bytes, most: int) -> bytes:
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if len(data) > most:
        raise ImageTooLargeError(f"{name}: the file is larger than {most / 1e6:g} MB (MAX_IMAGE_MB)")
    return data


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
    except Exception as exc:
        raise ImageError(f"{name}: damaged: {exc or type(exc).__name__}") from exc


def _upright_size(picture: Pictures.Image) -> tuple[int, int]:
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (picture.height, picture.width) if turned else (picture.width, picture.height)


def _upright_file(picture: Pictures.Image, data: bytes) -> bytes:
    if picture.format in _AS_IS and picture.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1):
        picture.load()  # a truncated file is found here and named, not by each service in its own way
        return data
    upright = ImageOps.exif_transpose(picture)
    return _jpeg(_opaque(upright), exif=upright.getexif(), icc=picture.info.get("icc_profile"))


def _decode(picture: Pictures.Image) -> Pictures.Image:
    return _opaque(ImageOps.exif_transpose(picture))


def _opaque(picture: Pictures.Image) -> Pictures.Image:
    """In RGB, on white where it was transparent."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    ground = Pictures.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def _jpeg(picture: Pictures.Image, exif: Pictures.Exif | None = None, icc: bytes | None = None) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, exif=exif or Pictures.Exif(), icc_profile=icc)
    return file.getvalue()


def _name(image: Image) -> str:
    return image.path or str(image.url)
