"""The image door: what is upright, what is cropped, and how a bad file is named."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageCms

from windmill.decoding import pixels
from windmill.decoding.pool import Decoders
from windmill.errors import DecoderError, ImageError, ImageTooLargeError
from windmill.images import ImageFiles
from windmill.model import Image
from windmill.settings import Settings

FILES = ImageFiles(Settings(allow_private_urls=("127.0.0.1",)))
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


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_small_one_is_upright_and_as_small_as_asked(saved, name):
    small = opened(FILES.small(saved(half_and_half(400, 200), name, exif=oriented(6)), 50))
    assert (small.format, small.size) == ("JPEG", (25, 50))
    assert close(small.getpixel((12, 5)), RED)
    assert close(small.getpixel((12, 45)), BLUE)


def test_a_small_one_is_never_enlarged(saved):
    assert opened(FILES.small(saved(half_and_half()), 400)).size == (40, 20)


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
    found = FILES.inspect("photo.jpg", (tmp_path / "photo.jpg").read_bytes())
    assert (found.width, found.height) == (20, 40)


def test_pixels_are_those_of_the_upright_picture(saved):
    data = FILES.read(saved(half_and_half(), exif=oriented(6)))
    assert np.array_equal(FILES.pixels("photo", data), np.asarray(FILES.decode("photo", data)))


def test_what_ingest_saw_to_be_fine_is_not_decoded_again(saved):
    image = saved(half_and_half(400, 400))
    data = FILES.read(image)
    assert FILES.inspect("photo", data).as_is
    unasked = ImageFiles(Settings(), Decoders(command=("false",)))
    assert unasked.upright(replace(image, as_is=len(data))) == data
    with pytest.raises(DecoderError):
        unasked.upright(image)


@pytest.mark.parametrize(
    ("name", "options"),
    [("turned.jpg", {"exif": oriented(6)}), ("few.heic", {}), ("few.tif", {})],
)
def test_what_services_cannot_be_sent_is_seen_at_ingest(saved, name, options):
    assert not FILES.inspect(name, FILES.read(saved(half_and_half(64, 64), name, **options))).as_is


@pytest.mark.parametrize("name", ["torn.jpg", "torn.png", "torn.gif", "torn.webp", "torn.bmp"])
def test_a_torn_file_that_services_would_be_sent_is_refused_at_ingest(saved, name):
    whole = FILES.read(saved(half_and_half(400, 400), name))
    assert FILES.inspect(name, whole).as_is
    with pytest.raises(ImageError, match=f"{name}: damaged"):
        FILES.inspect(name, whole[: len(whole) * 2 // 3])


def test_a_torn_file_on_its_side_has_a_size_and_is_looked_at_by_each_worker(saved):
    whole = FILES.read(saved(half_and_half(400, 300), exif=oriented(6), quality=95))
    torn = FILES.inspect("torn", whole[:-400])
    assert (torn.width, torn.height, torn.as_is) == (300, 400, False)


def test_a_file_of_another_size_than_at_ingest_is_looked_at(saved, tmp_path):
    image = saved(half_and_half(400, 400), quality=95)
    path = tmp_path / "photo.jpg"
    image = replace(image, as_is=path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ImageError, match="damaged"):
        FILES.upright(image)


def test_a_file_that_was_replaced_since_ingest_is_sent_and_named_in_the_log(saved, tmp_path, caplog):
    image = saved(half_and_half())
    data = FILES.upright(replace(image, as_is=(tmp_path / "photo.jpg").stat().st_size))
    assert FILES.upright(image) == data  # nobody knows what it was: put into the table by hand, or turned
    assert not caplog.messages
    assert FILES.upright(replace(image, as_is=12345)) == data
    (said,) = caplog.messages
    assert said == f"{image.path} is no longer the file that was ingested: {len(data):,} bytes, not 12,345"


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


@pytest.mark.parametrize("orientation", range(12))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "heic"])
def test_ingest_workers_and_boxes_agree_on_the_size(saved, ending, orientation):
    image = saved(half_and_half(64, 32), f"photo.{ending}", exif=oriented(orientation))
    found = FILES.inspect("photo", FILES.read(image))
    size = (found.width, found.height)
    assert opened(FILES.upright(image)).size == size
    assert opened(FILES.crop(image, 0, 0, 99, 99)).size == size


def test_an_orientation_that_there_is_not_is_none(saved, tmp_path):
    image = saved(half_and_half(), exif=oriented(99))
    assert FILES.upright(image) == (tmp_path / "photo.jpg").read_bytes()


def test_a_phone_s_jpeg_of_several_pictures_is_sent_untouched(saved, tmp_path):
    image = saved(half_and_half(), format="MPO", save_all=True, append_images=[half_and_half()])
    assert opened(FILES.read(image)).format == "MPO"
    assert FILES.upright(image) == (tmp_path / "photo.jpg").read_bytes()


@pytest.mark.parametrize(
    ("mode", "light", "ending"),
    [("I;16", 65535, "png"), ("I;16", 65535, "tif"), ("I", 1_000_000, "tif"), ("F", 1.0, "tif")],
)
def test_a_grey_of_many_bits_stays_grey(saved, mode, light, ending):
    steps = Pictures.new(mode, (3, 1))
    for x, share in enumerate((0, 0.5, 1)):
        steps.putpixel((x, 0), type(light)(share * light))
    image = saved(steps.resize((30, 10), Pictures.Resampling.NEAREST), f"deep.{ending}")
    for data in (FILES.upright(image), FILES.crop(image, 0, 0, 30, 10)):
        grey = opened(data).convert("L")
        assert [round(grey.getpixel((x, 5)) / 10) for x in (2, 15, 27)] == [0, 13, 26]


@pytest.mark.parametrize(("space", "kept"), [(b"RGB ", True), (b"CMYK", False)])
def test_a_colour_profile_is_kept_if_it_still_holds(saved, space, kept):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = space
    image = saved(half_and_half(), exif=oriented(6), icc_profile=bytes(profile))
    assert ("icc_profile" in opened(FILES.upright(image)).info) is kept


def test_exif_that_a_jpeg_has_no_room_for_does_not_cost_the_image(saved):
    exif = oriented(6)
    exif[0x010E] = "y" * 80_000
    assert opened(FILES.upright(saved(half_and_half(), "wordy.png", exif=exif))).size == (20, 40)


@pytest.mark.parametrize("name", ["a\0b.jpg", "a\ud800.jpg"])
def test_a_name_that_no_file_can_have_is_named(name):
    with pytest.raises(ImageError, match="no file can be called that"):
        FILES.upright(Image(image_id=1, path=name))


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="a pipe"):
        FILES.upright(Image(image_id=1, path=str(tmp_path / "pipe.jpg")))


def test_pixels_that_a_plugin_would_set_aside_before_the_check_are_too_many(monkeypatch, saved):
    data = FILES.read(saved(half_and_half()))
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageTooLargeError, match="MAX_IMAGE_MEGAPIXELS"):
        pixels.upright(data, 50_000_000)


def test_boxes_of_one_image_decode_it_once_whatever_the_threads(saved, monkeypatch):
    image, files, decoded = saved(half_and_half()), ImageFiles(Settings()), []
    start = threading.Barrier(4)
    decode = files.decode
    monkeypatch.setattr(files, "decode", lambda *args: decoded.append(args) or decode(*args))

    def crop(left):
        start.wait(60)
        return files.crop(image, left, 0, left + 5, 5)

    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(crop, range(4)))) == 4
    assert len(decoded) == 1


def test_what_is_kept_decoded_is_bounded_in_pixels_and_number(saved):
    files = ImageFiles(Settings(max_image_megapixels=0.1))
    for number in range(6):
        files.crop(saved(half_and_half(200, 200), f"{number}.jpg"), 0, 0, 5, 5)
    assert files._pixels <= 100_000
    for number in range(6):
        files.crop(saved(half_and_half(), f"small{number}.jpg"), 0, 0, 5, 5)
    assert len(files._decoded) == 4


@contextmanager
def serving(status, body):
    """A web server on loopback that always says the same; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/cat.jpg"
        finally:
            server.shutdown()
            thread.join()


def test_an_image_is_fetched_from_its_address(saved):
    data = FILES.read(saved(half_and_half()))
    with serving(200, data) as url:
        assert FILES.upright(Image(image_id=1, url=url.replace("http", "HTTP"))) == data


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"", "answered 404 Not Found"),
        (200, b"", "empty"),
        (200, b"x" * 200_000, r"larger than 0\.1 MB"),
    ],
)
def test_an_address_without_an_image_is_named(status, body, said):
    with serving(status, body) as url, pytest.raises(ImageError, match=f"{url}: .*{said}"):
        ImageFiles(Settings(max_image_mb=0.1, allow_private_urls=("127.0.0.1",))).read(
            Image(image_id=1, url=url)
        )


def test_a_server_that_is_not_there_is_one_short_reason():
    with pytest.raises(ImageError, match=r"cat.jpg: cannot fetch it: Connection refused$"):
        FILES.read(Image(image_id=1, url="http://127.0.0.1:1/cat.jpg"))
