"""Writing JPEG files."""

from __future__ import annotations

import io

from PIL import Image as Pictures

_QUALITY = 95


def jpeg(
    picture: Pictures.Image, exif: bytes = b"", icc: bytes | None = None, quality: int = _QUALITY
) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, exif=exif, icc_profile=icc)
    return file.getvalue()
