"""The reference services over real HTTP, with real models on real photos."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests
import skimage
from PIL import Image as Pictures

from windmill import catalog
from windmill.core import replies

NAMES = ("colors", "metadata", "face", "nanodet", "ssdlite", "centernet")
PHOTOS = Path(skimage.__file__).parent / "data"


@pytest.fixture(scope="module")
def ports(served):
    """Where those listen that this file asks."""
    return {name: served.port(name) for name in NAMES}


def post(port, data, endpoint="/v3/analyze"):
    return requests.post(f"http://127.0.0.1:{port}{endpoint}", files={"file": ("photo", data)}, timeout=60)


def ask(ports, name, data):
    response = post(ports[name], data)
    assert response.status_code == 200
    return replies.parse(catalog.facts(name), response.content)


@pytest.mark.parametrize(
    ("name", "photo", "label"),
    [
        ("nanodet", "chelsea.png", "cat"),
        ("ssdlite", "chelsea.png", "cat"),
        ("nanodet", "astronaut.png", "person"),
        ("ssdlite", "astronaut.png", "person"),
        ("centernet", "astronaut.png", "person"),
        ("ssdlite", "coffee.png", "cup"),
        ("face", "astronaut.png", "face"),
    ],
)
def test_models_see_what_is_there(ports, name, photo, label):
    reply = ask(ports, name, (PHOTOS / photo).read_bytes())
    assert label in {detection.label for detection in reply.detections}


def test_a_face_has_keypoints_inside_its_box(ports):
    (face, *_) = post(ports["face"], (PHOTOS / "astronaut.png").read_bytes()).json()["predictions"]
    x, y, width, height = face["bbox"]
    assert set(face["keypoints"]) == {"right_eye", "left_eye", "nose", "mouth_right", "mouth_left"}
    assert all(x <= px <= x + width and y <= py <= y + height for px, py in face["keypoints"].values())


def test_colours_and_metadata_say_what_the_contract_says(ports):
    data = (PHOTOS / "coffee.png").read_bytes()
    colour = post(ports["colors"], data).json()["predictions"][0]["primary"]
    assert set(colour) >= {"hex", "copic", "prismacolor", "temperature"}
    facts = post(ports["metadata"], data).json()["predictions"][0]
    assert facts["dimensions"]["width"] == 600
    assert facts["file"]["format"] == "PNG"


def test_a_reply_names_its_model_and_fingerprint(ports):
    metadata = post(ports["nanodet"], (PHOTOS / "coffee.png").read_bytes(), "/analyze").json()["metadata"]
    assert metadata["processing_time"] > 0
    assert len(metadata["model_info"]["sha256"]) == 64


def test_all_orientations_are_one_photo(ports, shared_data):
    """Files as cameras write them; nothing that our detectors know is in them."""
    photos = [(shared_data / "orientation" / f"Landscape_{n}.jpg").read_bytes() for n in range(1, 9)]
    dimensions = [post(ports["metadata"], data).json()["predictions"][0]["dimensions"] for data in photos]
    assert all((size["width"], size["height"]) == (1800, 1200) for size in dimensions)
    primary = [post(ports["colors"], data).json()["predictions"][0]["primary"] for data in photos]
    assert len({(colour["copic"], colour["temperature"]) for colour in primary}) == 1


@pytest.mark.parametrize("name", ["nanodet", "ssdlite", "centernet"])
def test_detectors_find_the_person_in_most_photos_and_stay_inside(ports, shared_data, name):
    """Each photo holds exactly one person, often small or cut off."""
    photos = sorted((shared_data / "coco-photos").glob("*.jpg"))[:20]
    found = 0
    for path in photos:
        boxes = post(ports[name], path.read_bytes()).json()["predictions"]
        found += "person" in {box["label"] for box in boxes}
        with Pictures.open(path) as picture:
            assert all(inside(box["bbox"], *picture.size) for box in boxes)
    assert found > len(photos) / 2


def inside(box, width, height):
    return (
        all(isinstance(value, int) and value >= 0 for value in box.values())
        and 0 < box["width"] <= width - box["x"]
        and 0 < box["height"] <= height - box["y"]
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"file": "/etc/passwd"}, "--file-root"),
        ({"url": "http://127.0.0.1:1/x.jpg"}, "private address"),
    ],
)
def test_what_may_not_be_fetched_is_refused(ports, query, said):
    response = requests.get(f"http://127.0.0.1:{ports['colors']}/v3/analyze", params=query, timeout=60)
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]


def test_a_port_that_is_taken_is_named(ports):
    taken = str(ports["colors"])
    command = [sys.executable, "-m", "windmill", "serve", "metadata", "--port", taken]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 2
    assert f"metadata: cannot listen on 127.0.0.1:{taken}" in process.stderr
    assert "Traceback" not in process.stderr


def test_an_unknown_service_is_named_with_those_there_are():
    command = [sys.executable, "-m", "windmill", "serve", "nobody"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 2
    assert all(name in process.stderr for name in NAMES)
    assert process.stdout == ""
