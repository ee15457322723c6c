"""The image door under whatever bytes, addresses and paths: an answer or an `ImageError`, in bounded time.

A few seconds as a rule; WINDMILL_FUZZ=20000 examples of each kind for a long night.
"""

import io
import os
import socket
import time

import pillow_heif
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from windmill.addresses import WebAddresses
from windmill.core.urls import shown
from windmill.errors import ImageError
from windmill.images import ImageFiles
from windmill.model import Image
from windmill.settings import Settings

pillow_heif.register_heif_opener()

FUZZ = settings(
    max_examples=int(os.environ.get("WINDMILL_FUZZ", "150")),
    deadline=None,  # a busy machine is no fault of an image
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
FILES = ImageFiles(Settings(max_image_megapixels=5))
PATIENCE = 90.0  # seconds for all that is done to one file; decoders have 35 for each part


def look(data):
    """What ingest, workers and crops make of a file; sizes that agree, or an `ImageError`."""
    started = time.monotonic()
    sizes = set()
    for step in (
        lambda: measured(data),
        lambda: FILES.decode("photo", data).size,
        lambda: Pictures.open(io.BytesIO(FILES.prepared("photo", data))).size and None,
    ):
        try:
            sizes.add(step())
        except ImageError as error:
            assert str(error).startswith("photo: ")
    assert len(sizes - {None}) <= 1
    assert time.monotonic() - started < PATIENCE


def measured(data):
    """The size by the header; and what ingest passes as it is, workers do."""
    found = FILES.inspect("photo", data)
    if found.as_is:
        assert FILES.prepared("photo", data) == data
    return found.width, found.height


def made(fmt, mode="RGB", **options):
    file = io.BytesIO()
    exif = Pictures.Exif()
    exif[0x0112] = 6
    Pictures.linear_gradient("L").resize((48, 32)).convert(mode).save(file, fmt, exif=exif, **options)
    return file.getvalue()


SMALL = [
    made("JPEG"),
    made("JPEG", "CMYK", progressive=True),
    made("PNG", "RGBA"),
    made("PNG", "I;16"),
    made("GIF", "P"),
    made("BMP"),
    made("WEBP", "RGBA"),
    made("TIFF", "RGBA", compression="tiff_lzw"),
    made("TIFF", "F"),
    made("TIFF", compression="jpeg"),
    made("HEIF"),
]


@pytest.fixture(scope="module")
def seeds(shared_data):
    """Real files: hostile, turned, ordinary."""
    folders = ("hostile", "orientation", "coco-photos")
    found = [path for name in folders for path in sorted((shared_data / name).iterdir())[:40]]
    return SMALL + [path.read_bytes() for path in found if path.suffix != ".json"]


PLACES = st.one_of(st.integers(0, 400), st.integers(0, 10**7))  # most of what matters is at the beginning
BYTES = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xd8"]),
)
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "insert", "cut", "end"]), PLACES, BYTES), max_size=6)


def changed(data, changes):
    data = bytearray(data)
    for kind, place, some in changes:
        at = place % (len(data) + 1)
        if kind == "put":
            data[at : at + len(some)] = some
        elif kind == "insert":
            data[at:at] = some
        elif kind == "cut":
            del data[at : at + 16 * len(some)]
        else:
            del data[at:]
    return bytes(data)


@FUZZ
@given(number=st.integers(0, len(SMALL) - 1), changes=CHANGES)
def test_small_files_of_each_format_with_changes(number, changes):
    look(changed(SMALL[number], changes))


@FUZZ
@given(number=st.integers(0, 10**6), changes=CHANGES)
def test_real_files_with_changes(seeds, number, changes):
    look(changed(seeds[number % len(seeds)], changes))


HEADS = [data[:16] for data in SMALL] + [b""]


@FUZZ
@given(head=st.sampled_from(HEADS), data=st.binary(max_size=2000))
def test_random_bytes_behind_the_beginning_of_each_format(head, data):
    look(head + data)


@FUZZ
@given(text=st.text(max_size=200))
@example("a\0b")
@example("/dev/zero")
@example("/proc/self/mem")
@example("\ud800")
def test_whatever_is_called_a_path(text):
    try:
        assert FILES.read(Image(image_id=1, path=text)) is not None
    except ImageError as error:
        assert str(error)


@pytest.fixture
def nowhere(monkeypatch):
    """Each name leads to an address that only this machine reaches."""
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)


ODD = st.text(st.sampled_from("ab1:/@?#[]%.\\ \t\n&=~é。＠\0-_"), max_size=40)


@FUZZ
@given(scheme=st.sampled_from(["http://", "https://", "HTTP:", "ftp://", "//", ""]), rest=ODD)
def test_whatever_is_called_an_address_leads_nowhere_private(nowhere, scheme, rest):
    with pytest.raises(ImageError):
        WebAddresses(patience=1).read(scheme + rest, 100)


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#[]\\"), min_size=1)


@FUZZ
@given(user=WORD, password=WORD, path=ODD)
def test_a_password_in_an_address_is_never_shown(nowhere, user, password, path):
    url = f"http://{user}:secret{password}@example.org/{path}"
    assert "secret" not in shown(url)
    with pytest.raises(ImageError) as caught:
        WebAddresses(patience=1).read(url, 100)
    assert "secret" not in str(caught.value)
