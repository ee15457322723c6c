"""`windmill why --box` and `windmill show` on a database in which detectors have spoken."""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from dataclasses import replace

import pytest
from PIL import Image as Photos

from tests.contract.test_store import result
from tests.detectors import AVERAGE
from windmill import calibration
from windmill.catalog import facts
from windmill.commands import show, why
from windmill.errors import ConfigError, ImageError
from windmill.handlers.merge import Merge
from windmill.model import NewImage
from windmill.postgres.registry import PostgresImages
from windmill.postgres.store import PostgresStore

WHITE = (255, 255, 255)


def said(*found):
    predictions = [
        {"label": label, "emoji": emoji, "confidence": confidence, "bbox": place}
        for label, emoji, confidence, place in found
    ]
    return json.dumps({"status": "success", "predictions": predictions})


@pytest.fixture
def photo(tmp_path):
    """Lies on its side: upright it is 200 wide and 400 high."""
    path = tmp_path / "photo.jpg"
    exif = Photos.Exif()
    exif[0x0112] = 6  # Orientation, EXIF 2.3, 4.6.4: turn it by 90° to the right
    Photos.new("RGB", (400, 200), "white").save(path, exif=exif)
    return path


@pytest.fixture
def settings(database, tmp_path, photo):
    catalog, learned = tmp_path / "service_config.json", tmp_path / "calibration.json"
    catalog.write_text("{}", "utf-8")
    learned.write_text(calibration.text(replace(calibration.load(), boxes=AVERAGE)), "utf-8")
    new = NewImage(filename=photo.name, group="g", content_hash=b"1", width=200, height=400, path=str(photo))
    with closing(PostgresImages(database, "ingest")) as registry:
        (image,) = registry.add([new]).values()
    cat, dog = ("cat", "🐈", 0.9, [20, 300, 60, 80]), ("dog", "🐕", 0.6, [100, 20, 80, 100])
    with closing(PostgresStore(database, "w")) as store:
        store.save([result(image, service="yolov8", data=said(cat, dog))])
        store.save([result(image, service="rtdetr", data=said(("cat", "🐈", 0.7, [30, 300, 60, 80])))])
        merge = Merge(merger=facts("bbox_merger"), detectors=AVERAGE)
        store.recompute([image], lambda snapshot: merge(snapshot, resumed=False))
    return replace(database, service_config=catalog, calibration=learned, enable_monitoring=False)


@pytest.fixture
def call(settings, tmp_path, monkeypatch, capsys):
    """Runs a command where its user is; gives what it wrote."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    monkeypatch.chdir(place)

    def command(module, *words, status=0):
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        assert module.run(parser.parse_args([str(word) for word in words]), settings) == status
        return capsys.readouterr().out

    return command


def test_show_and_why_number_the_boxes_alike(call):
    drawn = json.loads(call(show, "photo.jpg", "--json"))["boxes"]
    assert [(one["number"], one["label"], one["score"]) for one in drawn] == [
        (1, "cat", 0.945209),
        (2, "dog", 0.519466),
    ]
    for box in drawn:
        (explained,) = json.loads(call(why, "photo.jpg", "--box", box["number"], "--json"))["boxes"]
        assert explained["bbox"] == box["bbox"]
        assert explained["score"] == box["score"]
        assert explained["arithmetic"][3].endswith(f" = {box['score']:.2f}")
    assert "1 🐈 cat 0.95 ×2, 2 🐕 dog 0.52 ×1" in call(why, "photo.jpg", status=1)


def test_why_tells_in_words_who_said_what(call):
    told = call(why, "photo.jpg", "--box", 2)
    assert "box 2 of 2: 🐕 dog at 100,20 80×100 px" in told
    assert "log-odds: 1.000 + 1.200 × ln(0.393 / 0.607) − 0.400 (rtdetr is silent) = 0.078" in told
    assert "score = 1 / (1 + exp(−0.078)) = 0.52" in told
    assert "nothing: −0.400" in told
    assert "never calibrated: rtdetr, yolov8: each counts as the average detector" in told
    assert "saw anything there" in call(why, "photo.jpg", "--near", "5,5")


def test_boxes_that_another_calibration_merged_say_how_to_merge_them_anew(call, tmp_path):
    other = replace(AVERAGE, bias=0.5)
    (tmp_path / "calibration.json").write_text(
        calibration.text(replace(calibration.load(), boxes=other)), "utf-8"
    )
    with pytest.raises(ConfigError, match="rerun --service bbox_merger --stale"):
        call(why, "photo.jpg", "--box", 2)


def test_the_photo_is_drawn_upright_beside_where_one_is_and_left_as_it_was(call, photo, tmp_path):
    before = photo.read_bytes()
    assert call(show, photo).splitlines()[-1] == "picture: photo-boxes.jpg"
    assert photo.read_bytes() == before
    with Photos.open(tmp_path / "elsewhere" / "photo-boxes.jpg") as drawn:
        assert drawn.size == (480, 960)
        scale = 960 / 400
        assert drawn.getpixel((round(140 * scale), round(70 * scale))) == WHITE  # inside of the dog's box
        edge = [drawn.getpixel((round(100 * scale) + n, round(110 * scale))) for n in range(-3, 4)]
        assert min(min(pixel) for pixel in edge) < 100


def test_one_box_and_one_service_have_pictures_of_their_own(call, tmp_path):
    call(show, "photo.jpg", "--box", 1)
    call(show, "photo.jpg", "--service", "rtdetr")
    call(show, "photo.jpg", "--out", "seen.png")
    names = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    assert names == ["photo-box-1.jpg", "photo-rtdetr.jpg", "seen.png"]
    with Photos.open(tmp_path / "elsewhere" / "seen.png") as seen:
        assert seen.format == "PNG"


def test_a_mistake_is_named_and_nothing_is_written(call, photo, tmp_path):
    before = photo.read_bytes()
    for words, told in (
        (("--box", "3"), "there is no box 3; its boxes are 1 to 2"),
        (("--service", "blip"), "has not answered about this image; who has: rtdetr, yolov8"),
        (("--out", "seen.txt"), "a picture's name ends in"),
        (("--out", "nowhere/seen.jpg"), "cannot write it: No such file or directory"),
        (("--out", "../photo.jpg"), "that is the photo itself"),
        (("--data", "nowhere"), "no data of `windmill run`"),
    ):
        with pytest.raises(ConfigError, match=told):
            call(show, "photo.jpg", *words)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert photo.read_bytes() == before


def test_a_photo_that_is_gone_is_named(call, photo):
    photo.unlink()
    with pytest.raises(ImageError, match=r"photo\.jpg: cannot read it: No such file"):
        call(show, "photo.jpg")


def test_a_photo_that_became_another_one_is_drawn_with_a_warning(call, photo, caplog):
    Photos.new("RGB", (50, 50)).save(photo)
    call(show, "photo.jpg")
    assert "50×50 pixels now, and had 200×400" in caplog.text
