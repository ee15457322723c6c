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


# What has pixels to look at, and what would have far too many.
READ = {
    "badbitssize.bmp",
    "baddens2.bmp",
    "badplanes.bmp",
    "decompression_bomb_extents.gif",
    "invalid-exif-without-x-resolution.jpg",
}
BOMBS = {"badwidth.bmp", "decompression_bomb.gif", "png_decompression_dos.png"}


def test_every_hostile_file_is_read_or_refused_by_name(shared_data):
    paths = sorted((shared_data / "hostile").iterdir())
    read = set()
    for number, path in enumerate(paths):
        image = Image(image_id=number, path=str(path))
        try:
            FILES.inspect(str(path), FILES.read(image))
            assert FILES.upright(image)
            assert FILES.crop(image, 0, 0, 8, 8)
            read.add(path.name)
        except ImageError as error:
            assert str(error).startswith(f"{path}: ")
    assert READ & {path.name for path in paths} <= read
    assert not BOMBS & read


@pytest.mark.parametrize("number", range(1, 9))
def test_all_orientations_show_the_same_pixels(shared_data, number):
    folder = shared_data / "orientation"
    upright = [
        Pictures.open(io.BytesIO(FILES.upright(Image(image_id=n, path=str(folder / f"Landscape_{n}.jpg")))))
        for n in (1, number)
    ]
    data = (folder / f"Landscape_{number}.jpg").read_bytes()
    found = FILES.inspect("photo", data)
    assert upright[0].size == upright[1].size == (found.width, found.height)
    difference = ImageStat.Stat(ImageChops.difference(*(picture.convert("RGB") for picture in upright)))
    assert max(difference.mean) < 6  # of 255: what JPEG costs
