"""What the models in packages see, asked without HTTP: classes, poses, text, nudity, whose face it is."""

import io
import itertools
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
from PIL import Image as Pictures

from windmill import catalog
from windmill.core import replies
from windmill.services import door, registry
from windmill.services.base import ANALYZE, EMBED_IMAGE, Photo, RequestError

PHOTOS = Path(skimage.__file__).parent / "data"
NAMES = ("pose", "movenet", "ocr", "nsfw2", "xception", "face_embedding", "metadata")


@cache
def task(name, path=ANALYZE):
    return model(name).tasks[path]


@cache
def model(name):
    return registry.load(name)


@cache
def photo(name):
    return door.photo(name, (PHOTOS / name).read_bytes())


def of(pixels):
    return Photo(data=b"", pixels=np.ascontiguousarray(pixels))


def ask(name, shown):
    """The reply, which a worker takes."""
    reply = task(name).alone(shown if isinstance(shown, Photo) else photo(shown))
    replies.read(catalog.facts(name), {"status": "success", **reply})
    return reply


def predictions(name, shown):
    return ask(name, shown)["predictions"]


# --- poses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("pose", 33), ("movenet", 17)])
def test_a_pose_has_its_points_where_the_person_is(name, count):
    (person,) = predictions(name, "astronaut.png")
    at = {key: (point["x"], point["y"]) for key, point in person["landmarks"].items()}
    assert len(at) == count
    assert at["nose"] == pytest.approx((0.43, 0.25), abs=0.05)
    assert at["right_eye"][0] < at["nose"][0] < at["left_eye"][0]  # her right is our left
    assert at["right_shoulder"][0] < at["nose"][0] < at["left_shoulder"][0]
    assert at["nose"][1] < min(at["right_shoulder"][1], at["left_shoulder"][1])


@pytest.mark.parametrize("name", ["pose", "movenet"])
@pytest.mark.parametrize("nobody", ["chelsea.png", "coffee.png", "page.png"])
def test_where_nobody_is_there_is_no_pose(name, nobody):
    assert predictions(name, nobody) == []


def test_two_people_have_a_pose_each():
    pixels = photo("astronaut.png").pixels
    two = predictions("pose", of(np.hstack([pixels, pixels[:, ::-1]])))
    noses = sorted(person["landmarks"]["nose"]["x"] for person in two)
    assert noses == pytest.approx([0.215, 0.785], abs=0.03)


@pytest.mark.parametrize(("name", "least"), [("pose", 6), ("movenet", 6)])
def test_poses_lie_on_the_people_of_photos(shared_data, name, least):
    inside = [share for share in shares_inside(shared_data, name) if share > 0.8]
    assert len(inside) >= least


def shares_inside(shared_data, name):
    """Of each person's visible points, how many lie in the known box, for ten tall people; without those that
    were not found."""
    folder = shared_data / "coco-photos"
    for file, (x, y, width, height) in itertools.islice(tall_people(folder), 10):
        shown = door.photo(file, (folder / file).read_bytes())
        for person in predictions(name, shown)[:1]:
            points = [p for p in person["landmarks"].values() if p["visibility"] > 0.3]
            places = [(p["x"] * shown.width, p["y"] * shown.height) for p in points]
            yield np.mean([x <= px <= x + width and y <= py <= y + height for px, py in places])


def tall_people(folder):
    for entry in json.loads((folder / "photos.json").read_text("utf-8")):
        boxes = [one["bbox"] for one in entry["objects"] if one["label"] == "person"]
        if boxes[0][3] > 200:
            yield entry["file_name"], boxes[0]


# --- text --------------------------------------------------------------------------------------------------


def test_print_is_read_line_by_line_with_its_places():
    (page,) = predictions("ocr", "page.png")
    lines = page["text"].splitlines()
    assert lines[0] == "Region-based segmentation"
    assert "background. These markers are pixels that we can label" in lines
    assert [region["text"] for region in page["text_regions"]] == lines
    tops = [region["bbox"]["y"] for region in page["text_regions"]]
    assert tops == sorted(tops)
    assert page["text_regions"][0]["bbox"]["width"] == pytest.approx(290, abs=20)
    assert page["has_text"] is True
    assert page["confidence"] > 0.9


def test_words_that_are_read_have_their_emoji():
    sign = np.full((200, 500, 3), 255, np.uint8)
    cv2.putText(sign, "PIZZA 24", (40, 130), cv2.FONT_HERSHEY_SIMPLEX, 2.5, (0, 0, 200), 6)
    (read,) = predictions("ocr", of(sign))
    assert read["text"] == "PIZZA 24"
    assert read["emoji_mappings"] == [{"emoji": "🍕", "word": "PIZZA"}]


def test_a_cat_says_nothing():
    (read,) = predictions("ocr", "chelsea.png")
    assert (read["text"], read["has_text"], read["text_regions"]) == ("", False, [])


# --- nudity ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "score"), [("astronaut.png", 0.0318), ("coffee.png", 0.0130)])
def test_scores_are_those_of_the_models_own_package(name, score):
    (found,) = predictions("nsfw2", name)
    assert found["score"] == pytest.approx(score, abs=0.005)
    assert (found["nsfw"], found["emoji"]) == (False, "")
    assert found["confidence"] == pytest.approx(1 - score, abs=0.005)


# --- classes -----------------------------------------------------------------------------------------------

# As PyTorch and the weights' own package say of the same pixels (2026).
EXPECTED = {
    "chelsea.png": ("Egyptian Mau", "🐈"),
    "coffee.png": ("espresso", "☕"),
    "camera.png": ("tripod", ""),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_classifier_says_what_its_weights_say(name):
    reply = ask("xception", name)
    best = reply["full_image"][0]
    assert (best["label"], best["emoji"]) == EXPECTED[name]
    assert best["confidence"] > 0.4
    assert reply["predictions"] == []
    sure = [label["confidence"] for label in reply["full_image"]]
    assert sure == sorted(sure, reverse=True)
    assert len(sure) <= 5


@pytest.mark.parametrize("name", ["xception", "nsfw2"])
def test_a_batch_says_what_each_alone_says(name):
    asked = task(name)
    given = [asked.preprocess(photo(one)) for one in EXPECTED]
    together = np.array(list(asked.predict(given)))
    alone = np.array([asked.predict([one])[0] for one in given])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_classifier_names_itself_for_what_it_is():
    assert "EfficientNet-Lite" in model("xception").info.name


# --- whose face --------------------------------------------------------------------------------------------


def test_a_face_has_its_place_and_an_embedding_of_length_one():
    (face,) = predictions("face_embedding", "astronaut.png")
    (seen,) = predictions("face", "astronaut.png")
    assert face["bbox"] == seen["bbox"]
    assert face["label"] == "face"
    assert "emoji" not in face  # the service `face` votes already
    assert len(face["embedding"]) == 128
    assert np.linalg.norm(face["embedding"]) == pytest.approx(1, abs=1e-4)


def test_a_face_stays_itself_when_it_is_turned_and_darker():
    embed = task("face_embedding", EMBED_IMAGE)
    pixels = photo("astronaut.png").pixels
    turn = cv2.getRotationMatrix2D((220, 120), 20, 0.7)
    others = [cv2.warpAffine(pixels, turn, (512, 512)), pixels[:, ::-1], (pixels * 0.6).astype(np.uint8)]
    own = np.array(embed.alone(photo("astronaut.png"))["embedding"])
    for other in others:
        assert own @ np.array(embed.alone(of(other))["embedding"]) > 0.7


def test_without_a_face_there_is_no_embedding():
    with pytest.raises(RequestError, match="no face"):
        task("face_embedding", EMBED_IMAGE).alone(photo("coffee.png"))


def test_one_persons_faces_are_nearer_than_two_peoples(shared_data):
    """Six people with three photos each; the area under the curve was 0.9995 for all of them."""
    folders = [one for one in sorted((shared_data / "faces").iterdir()) if len([*one.glob("*.jpg")]) >= 3][:6]
    embed = task("face_embedding", EMBED_IMAGE)
    who, vectors = [], []
    for folder in folders:
        for path in sorted(folder.glob("*.jpg"))[:3]:
            who.append(folder.name)
            vectors.append(embed.alone(door.photo(path.name, path.read_bytes()))["embedding"])
    cosines = np.array(vectors) @ np.array(vectors).T
    pairs = list(itertools.combinations(range(len(who)), 2))
    same = [cosines[i, j] for i, j in pairs if who[i] == who[j]]
    different = [cosines[i, j] for i, j in pairs if who[i] != who[j]]
    assert np.mean([one > other for one in same for other in different]) > 0.99


# --- all ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1)], ids=str)
def test_odd_sizes_are_answered(name, size):
    black = Pictures.new("L", size)
    shown = door.photo("black", encoded(black))
    assert isinstance(predictions(name, shown), list)


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
