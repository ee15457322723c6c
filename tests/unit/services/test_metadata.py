"""What a file says about itself, and that it may say nonsense."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image as Pictures
from PIL.TiffImagePlugin import IFDRational

from windmill.services import door, metadata
from windmill.services.base import Photo
from windmill.services.metadata import Metadata

LATITUDE, LONGITUDE = ((52, 30, 36.0), (13, 22, 12.0))


def facts(exif=None, fmt="JPEG", size=(40, 30)):
    file = io.BytesIO()
    Pictures.new("RGB", size).save(file, fmt, exif=exif or Pictures.Exif())
    (found,) = Metadata().alone(door.photo("x", file.getvalue()))["predictions"]
    return json.loads(json.dumps(found, allow_nan=False))


def located(north, latitude, east, longitude):
    exif = Pictures.Exif()
    exif[0x8825] = {1: north, 2: latitude, 3: east, 4: longitude}
    return facts(exif)["gps"]


def test_dimensions_are_upright_and_the_file_is_named():
    exif = Pictures.Exif()
    exif[0x0112] = 6
    exif[0x0110] = "Camera\0 "
    found = facts(exif)
    assert found["dimensions"] == {"width": 30, "height": 40, "megapixels": 0.0, "aspect_ratio": 0.75}
    assert found["file"]["format"] == "JPEG"
    assert len(found["file"]["sha256"]) == 64
    assert found["exif"]["Model"] == "Camera"


def test_a_position_is_in_degrees_north_and_east():
    assert located("N", LATITUDE, "E", LONGITUDE) == {"latitude": 52.51, "longitude": 13.37}
    assert located("S", LATITUDE, "W", LONGITUDE) == {"latitude": -52.51, "longitude": -13.37}


@pytest.mark.parametrize("latitude", [(95.0, 0.0, 0.0), (1.0, 2.0), (IFDRational(1, 0), 0.0, 0.0)])
def test_a_position_that_cannot_be_is_none(latitude):
    assert located("N", latitude, "E", LONGITUDE) is None


def test_no_position_is_none():
    assert facts()["gps"] is None


def test_numbers_that_json_lacks_are_said_in_words():
    exif = Pictures.Exif()
    exif[0x829A] = IFDRational(0, 0)
    assert isinstance(facts(exif)["exif"]["ExposureTime"], str)


def seen(pixels):
    return metadata.seen(Photo(data=b"", pixels=pixels))


def test_what_is_blurred_has_less_variance_whatever_its_size():
    sharp = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    values = [
        seen(one)["blur"]["laplacian_variance"] for one in (sharp, blurred, sharp.repeat(2, 0).repeat(2, 1))
    ]
    assert values[1] < values[0] / 10
    assert values[2] == pytest.approx(values[0], rel=0.2)


def test_exposure_tells_what_is_clipped():
    pixels = np.full((10, 10, 3), 100, np.uint8)
    pixels[:2], pixels[9:] = 0, 255
    exposure = seen(pixels)["exposure"]
    assert (exposure["clipped_shadows"], exposure["clipped_highlights"]) == (0.2, 0.1)
    assert exposure["mean_luminance"] == pytest.approx((70 * 100 + 10 * 255) / 100 / 255, abs=0.001)


def test_the_palette_is_by_share():
    pixels = np.full((10, 10, 3), (255, 0, 0), np.uint8)
    pixels[:3] = (0, 0, 255)
    assert seen(pixels)["palette"] == [{"hex": "#ff0000", "share": 0.7}, {"hex": "#0000ff", "share": 0.3}]


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 1)])
def test_odd_sizes_have_facts_too(size):
    assert seen(np.zeros((*size, 3), np.uint8))["exposure"]["clipped_shadows"] == 1.0
