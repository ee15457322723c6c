"""What a file says about itself, and that it may say nonsense."""

import io
import json

import pytest
from PIL import Image as Pictures
from PIL.TiffImagePlugin import IFDRational

from windmill.services import door
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
