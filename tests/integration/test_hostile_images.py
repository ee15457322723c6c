"""Truncated, corrupt and malicious files at the image door; all eight orientations show the same pixels."""

import io

import pytest
from PIL import Image as Pictures
from PIL import ImageChops, ImageStat

from windmill.errors import ImageError
from windmill.images import ImageFiles
from windmill.model import Image
from windmill.settings import Settings

FILES = ImageFiles(Settings())


def test_every_hostile_file_is_read_or_refused_by_name(shared_data):
    paths = sorted((shared_data / "hostile").iterdir())
    assert paths
    for number, path in enumerate(paths):
        image = Image(image_id=number, path=str(path))
        try:
            assert FILES.upright(image)
            assert FILES.crop(image, 0, 0, 8, 8)
        except ImageError as error:
            assert path.name in str(error)


@pytest.mark.parametrize("number", range(1, 9))
def test_all_orientations_show_the_same_pixels(shared_data, number):
    folder = shared_data / "orientation"
    upright = [
        Pictures.open(io.BytesIO(FILES.upright(Image(image_id=n, path=str(folder / f"Landscape_{n}.jpg")))))
        for n in (1, number)
    ]
    assert upright[0].size == upright[1].size
    difference = ImageStat.Stat(ImageChops.difference(*(picture.convert("RGB") for picture in upright)))
    assert max(difference.mean) < 6  # of 255: what JPEG costs
