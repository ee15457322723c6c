"""The pictures are what they are said to be."""

import io

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageOps

from windmill.checking import pictures

FACTS = {
    "animated-gif": ("GIF", "P"),
    "cmyk-jpeg": ("JPEG", "CMYK"),
    "grey-jpeg": ("JPEG", "L"),
    "16-bit-png": ("PNG", "I;16"),
    "palette-png": ("PNG", "P"),
    "alpha-png": ("PNG", "RGBA"),
    "alpha-webp": ("WEBP", "RGBA"),
    "one-pixel": ("PNG", "RGB"),
    "one-row": ("PNG", "RGB"),
    "one-column": ("PNG", "RGB"),
}


@pytest.fixture(scope="module")
def photo():
    return pictures.Photo(pictures.drawn())


@pytest.mark.parametrize("name", pictures.ODD)
def test_an_odd_picture_is_odd_in_its_way(name, photo):
    with Pictures.open(io.BytesIO(photo.odd(name))) as picture:
        picture.load()
        assert (picture.format, picture.mode) == FACTS[name]
        if name == "animated-gif":
            assert picture.n_frames == 3
        if name == "16-bit-png":
            assert np.asarray(picture).max() > 50_000


@pytest.mark.parametrize("orientation", pictures.TURNED)
def test_a_lying_picture_stands_up_again(orientation, photo):
    with Pictures.open(io.BytesIO(photo.lying(orientation))) as picture:
        assert picture.getexif()[0x0112] == orientation
        upright = np.asarray(ImageOps.exif_transpose(picture), np.int16)
    assert np.abs(upright - np.asarray(photo.picture, np.int16)).mean() < 2


def test_too_many_pixels_are_in_a_small_file():
    data = pictures.too_many_pixels()
    with Pictures.open(io.BytesIO(data)) as picture:
        assert picture.width * picture.height == 51_000_000
    assert len(data) < 100_000
