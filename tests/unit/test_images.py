"""The image door: what is upright, what is cropped, and how a bad file is named."""

import io
from dataclasses import replace

import pytest
from PIL import Image as Pictures

from windmill.errors import ImageError
from windmill.images import ImageFiles
from windmill.model import Image
from windmill.settings import Settings

FILES = ImageFiles(Settings())
RED, BLUE = (200, 30, 30), (30, 30, 200)


def half_and_half(width=40, height=20):
    """Red on the left, blue on the right."""
    picture = Pictures.new("RGB", (width, height), RED)
    picture.paste(BLUE, (width // 2, 0, width, height))
    return picture


@pytest.fixture
def saved(tmp_path):
    def save(picture, name="photo.jpg", **options):
        path = tmp_path / name
        picture.save(path, **options)
        return Image(image_id=abs(hash(str(path))), path=str(path))

    return save


def oriented(value):
    exif = Pictures.Exif()
    exif[0x0112] = value
    exif[0x010F] = "Canon"
    return exif


def opened(data):
    return Pictures.open(io.BytesIO(data))


def close(pixel, colour):
    return all(abs(a - b) < 30 for a, b in zip(pixel, colour, strict=True))


def test_an_upright_file_is_sent_untouched(saved, tmp_path):
    image = saved(half_and_half(), exif=oriented(1))
    assert FILES.upright(image) == (tmp_path / "photo.jpg").read_bytes()


def test_a_file_on_its_side_is_turned_and_keeps_its_exif(saved):
    turned = opened(FILES.upright(saved(half_and_half(), exif=oriented(6))))
    assert turned.size == (20, 40)
    assert close(turned.getpixel((10, 5)), RED)
    assert close(turned.getpixel((10, 35)), BLUE)
    assert turned.getexif().get(0x0112, 1) == 1
    assert turned.getexif()[0x010F] == "Canon"


def test_heic_becomes_jpeg(saved):
    assert opened(FILES.upright(saved(half_and_half(64, 64), "photo.heic"))).format == "JPEG"


def test_what_was_transparent_is_white(saved):
    crop = opened(FILES.crop(saved(Pictures.new("RGBA", (9, 9), (0, 0, 0, 0)), "glass.png"), 0, 0, 9, 9))
    assert close(crop.getpixel((4, 4)), (255, 255, 255))


def test_a_crop_is_cut_from_upright_pixels_and_at_the_border(saved):
    image = saved(half_and_half(), exif=oriented(6))
    crop = opened(FILES.crop(image, -5, 20, 400, 400))
    assert crop.size == (20, 20)
    assert close(crop.getpixel((10, 10)), BLUE)


def test_a_box_outside_of_the_image_is_named(saved):
    with pytest.raises(ImageError, match="outside of its 40×20 pixels"):
        FILES.crop(saved(half_and_half()), 50, 0, 60, 10)


def test_the_upright_size_is_read_from_the_header(saved, tmp_path):
    saved(half_and_half(), exif=oriented(8))
    assert FILES.inspect("photo.jpg", (tmp_path / "photo.jpg").read_bytes()) == (20, 40)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello, I am text", "not an image"),
        (b"\xff\xd8\xff\xe0 torn", "not an image|damaged"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, said):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as caught:
        FILES.upright(Image(image_id=1, path=str(path)))
    assert str(path) in str(caught.value)


def test_a_truncated_file_is_damaged(saved, tmp_path):
    image = saved(half_and_half(400, 400), quality=95)
    path = tmp_path / "photo.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    for look in (FILES.upright, lambda one: FILES.crop(one, 0, 0, 5, 5)):
        with pytest.raises(ImageError, match="damaged"):
            look(replace(image, image_id=99))


@pytest.mark.parametrize("path", ["/nowhere/cat.jpg", "/"])
def test_a_file_that_cannot_be_read_says_why(path):
    with pytest.raises(ImageError, match=r"cannot read it: (No such file|Is a directory)"):
        FILES.upright(Image(image_id=1, path=path))


def test_size_is_checked_before_anything_is_decoded(saved):
    small = ImageFiles(Settings(max_image_megapixels=0.1))
    with pytest.raises(ImageError, match=r"400×400 pixels is more than 0\.1 megapixels"):
        small.upright(saved(half_and_half(400, 400)))
    with pytest.raises(ImageError, match=r"larger than 0\.1 MB"):
        ImageFiles(Settings(max_image_mb=0.1)).upright(
            saved(Pictures.effect_noise((400, 400), 90), "noise.png")
        )


def test_only_web_addresses_are_fetched():
    with pytest.raises(ImageError, match="expected http"):
        FILES.upright(Image(image_id=1, url="file:///etc/passwd"))
