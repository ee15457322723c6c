"""Detectors whose weights users bring: each layout of an export, on small networks that are made here."""

import numpy as np
import pytest

from tests.unit.services.made import columns, detectron2_file, instances, onnx_file, photo, weights
from windmill.errors import ConfigError
from windmill.services import detectron2, letterbox, nudenet, rtdetr, yolo
from windmill.services.base import ANALYZE

ANIMALS = {0: "cat", 1: "dog", 2: "zebra"}


def ask(model, picture):
    return model.tasks[ANALYZE].alone(picture)["predictions"]


def seen(predictions):
    return [(one["label"], *one["bbox"].values()) for one in predictions]


# A photo of 200 × 100 lies in 64 × 64 at (0, 16) with 64 × 32: a box in the middle of it.
CAT = (32, 32, 32, 16, 0, 0.9)
CAT_ON_PHOTO = ("cat", 50, 25, 100, 50)
WIDE = photo(200, 100)


def yolov8(tmp_path, answer, **options):
    path = onnx_file(tmp_path / "own.onnx", answer, **{"names": ANIMALS, **options})
    return yolo.load(weights(path, "yolov8"))


def test_a_photo_lies_in_the_middle_of_grey_as_yolo_was_trained():
    fitted = letterbox.letterboxed(photo(201, 100), 64, 64)
    assert fitted.pixels.shape == (64, 64, 3)
    assert (fitted.pixels[:16] == 114).all()
    assert (fitted.pixels[16:48] == (200, 100, 50)).all()
    assert (fitted.pixels[48:] == 114).all()
    assert fitted.back(np.array([[0, 16, 64, 48]])) == pytest.approx(np.array([[0, 0, 201, 100]]))


def test_a_photo_of_one_row_keeps_a_row():
    fitted = letterbox.letterboxed(photo(20_000, 1), 64, 64)
    assert (fitted.pixels == (200, 100, 50)).all(axis=2).sum() == 64


def test_a_box_lands_where_it_is_on_the_photo(tmp_path):
    (found,) = ask(yolov8(tmp_path, columns(CAT)), WIDE)
    assert found == {
        "label": "cat",
        "confidence": 0.9,
        "emoji": "🐈",
        "bbox": {"x": 50, "y": 25, "width": 100, "height": 50},
    }


def test_the_surer_of_two_boxes_of_a_class_stays_and_other_classes_beside_it(tmp_path):
    beside = [(33, 32, 32, 16, 0, 0.8), (32, 32, 32, 16, 1, 0.7), (32, 32, 32, 16, 2, 0.2)]
    assert seen(ask(yolov8(tmp_path, columns(CAT, *beside)), WIDE)) == [
        CAT_ON_PHOTO,
        ("dog", 50, 25, 100, 50),
    ]


def test_boxes_beyond_the_photo_are_cut_and_those_in_the_grey_are_none(tmp_path):
    outside, grey = (60, 32, 32, 64, 0, 0.9), (32, 4, 8, 4, 1, 0.9)
    assert seen(ask(yolov8(tmp_path, columns(outside, grey)), WIDE)) == [("cat", 138, 0, 62, 100)]


def test_no_more_than_300_boxes(tmp_path):
    many = [(2 + 3 * (n % 20), 18 + 1.5 * (n // 20), 1, 0.5, 0, 0.5 + n / 1000) for n in range(400)]
    assert len(ask(yolov8(tmp_path, columns(*many, n=400)), WIDE)) == 300


@pytest.mark.parametrize(
    "answer",
    [
        np.array([[16, 24, 48, 40, 0.9, 0], [16, 24, 48, 40, 0.1, 1]]),  # corners, score, class
        np.array([[32, 32, 32, 16, 0.95, 0.95, 0, 0], [32, 32, 32, 16, 0.4, 0, 0.5, 0]]),  # YOLOv5's rows
        np.concatenate([columns(CAT, n=50), np.full((32, 50), 5)]),  # masks behind the classes
    ],
    ids=["end to end", "rows", "with masks"],
)
def test_other_layouts_say_the_same(tmp_path, answer):
    assert seen(ask(yolov8(tmp_path, answer), WIDE)) == [CAT_ON_PHOTO]


@pytest.mark.parametrize(("batch", "at_once"), [("batch", 8), (1, 1), (4, 4)])
@pytest.mark.parametrize("half", [False, True])
def test_batches_are_as_large_as_the_export_has_them(tmp_path, batch, at_once, half):
    task = yolov8(tmp_path, columns(CAT), batch=batch, half=half).tasks[ANALYZE]
    assert task.batch == at_once
    given = [task.preprocess(one) for one in (WIDE, photo(100, 200))[:at_once]]
    outputs = task.predict(given)
    assert len(outputs) == len(given)
    for one, output in zip(given, outputs, strict=True):
        assert [found["label"] for found in task.postprocess(one, output)["predictions"]] == ["cat"]


def test_the_size_is_noted_where_the_input_leaves_it_open(tmp_path):
    model = yolov8(tmp_path, columns(CAT), size=("height", "width"), imgsz=[64, 64])
    assert seen(ask(model, WIDE)) == [CAT_ON_PHOTO]


@pytest.mark.parametrize(
    ("service", "classes", "number", "label"),
    [("yolov8", 80, 79, "toothbrush"), ("yolo_365", 365, 0, "person"), ("yolo_oi7", 601, 381, "person")],
)
def test_a_file_without_names_is_taken_for_the_services_own_classes(
    tmp_path, service, classes, number, label
):
    answer = columns((32, 32, 32, 16, number, 0.9), classes=classes, n=700)
    path = onnx_file(tmp_path / "bare.onnx", answer)
    (found,) = ask(yolo.load(weights(path, service)), WIDE)
    assert found["label"].casefold() == label


def test_the_reply_tells_which_file_it_was(tmp_path):
    info = yolov8(tmp_path, columns(CAT)).info
    assert (info.name, info.framework, info.licence) == ("YOLO own", "ONNX Runtime", "ours")
    assert len(info.sha256) == 64


@pytest.mark.parametrize(
    ("answer", "notes", "said"),
    [
        (np.zeros(1000), {}, "expected"),  # a classifier
        (columns(CAT), {}, "names its classes|name its classes"),  # three classes, but which?
        (columns(CAT), {"names": "__import__('os').getcwd()"}, "names cannot be read"),
        (columns(CAT), {"names": "{0: 'cat', 2: 'dog'}"}, "names"),
        (columns(CAT), {"names": ANIMALS, "imgsz": "9"}, "imgsz"),
    ],
)
def test_what_cannot_be_meant_is_told_when_it_is_loaded(tmp_path, answer, notes, said):
    path = onnx_file(tmp_path / "odd.onnx", answer, **notes)
    with pytest.raises(ConfigError, match=said) as caught:
        yolo.load(weights(path, "yolov8"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("loader", [yolo, rtdetr, nudenet, detectron2])
def test_a_broken_file_is_told_with_its_name(tmp_path, loader):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"broken\.onnx"):
        loader.load(weights(path, "yolov8"))


def test_a_folder_without_a_network_is_told(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"expected one file of type \.onnx or \.pt, got readme\.txt"):
        yolo.load(weights(tmp_path / "readme.txt", "yolov8"))


# --- RT-DETR: the photo is stretched, boxes are parts of it ------------------------------------------------

DOG = (0.5, 0.5, 0.25, 0.5)
DOG_ON_PHOTO = ("dog", 75, 25, 50, 50)


def queries(n, *first):
    """n rows, the first as given, the others of nothing."""
    rows = (
        np.full((n, len(first[0])), -9.0, np.float32) if len(first[0]) != 4 else np.zeros((n, 4), np.float32)
    )
    rows[: len(first)] = first
    return rows


@pytest.mark.parametrize(
    "answers",
    [
        [queries(30, (*DOG, 0.1, 0.9, 0.0), (*DOG, 0.2, 0.1, 0.1))],
        [queries(30, (*DOG, 0.9, 1), (*DOG, 0.2, 0))],
        [queries(30, (-9.0, 3.0, -9.0), (-2.0, -2.0, -2.0)), queries(30, DOG, DOG)],
        [queries(30, DOG, DOG), queries(30, (-9.0, 3.0, -9.0), (-2.0, -2.0, -2.0))],
    ],
    ids=["scores", "score and class", "transformers", "transformers, boxes first"],
)
def test_rtdetr_in_each_layout(tmp_path, answers):
    path = onnx_file(tmp_path / "detr.onnx", *answers, names=ANIMALS)
    assert seen(ask(rtdetr.load(weights(path, "rtdetr")), WIDE)) == [DOG_ON_PHOTO]


@pytest.mark.parametrize("values", [(0.1, 0.9), (0.9, 1)], ids=["scores", "score and class"])
def test_rtdetr_of_two_classes_in_either_layout(tmp_path, values):
    rest = np.tile([0.5, 0.5, 0.1, 0.1, 0.125, 0.0], (29, 1))
    path = onnx_file(tmp_path / "two.onnx", np.vstack([(*DOG, *values), rest]), names={0: "cat", 1: "dog"})
    assert seen(ask(rtdetr.load(weights(path, "rtdetr")), WIDE)) == [DOG_ON_PHOTO]


def test_rtdetr_does_not_take_yolo(tmp_path):
    path = onnx_file(tmp_path / "yolo.onnx", columns(CAT), names=ANIMALS)
    with pytest.raises(ConfigError, match="RT-DETR"):
        rtdetr.load(weights(path, "rtdetr"))


# --- NudeNet: corners, and suppression across classes ------------------------------------------------------


def test_nudenet_answers_with_corners_and_an_emoji_by_label(tmp_path):
    face, same_place, belly = (16, 16, 16, 16, 1, 0.8), (16, 16, 16, 15, 12, 0.7), (48, 16, 16, 16, 8, 0.6)
    path = onnx_file(tmp_path / "320n.onnx", columns(face, same_place, belly, classes=18, n=40))
    found = ask(nudenet.load(weights(path, "nudenet")), WIDE)
    assert [(one["label"], one["emoji"], one["bbox"]) for one in found] == [
        ("FACE_FEMALE", "👩", [25, 25, 75, 75]),
        ("BELLY_COVERED", "", [125, 25, 175, 75]),
    ]


# --- Detectron2: what tracing leaves of its Instances ------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "box"),
    [
        (("height", "width"), (333.25, 166.5, 666.5, 333)),  # the shortest side 800, but no side above 1333
        ((100, 100), (25, 12.5, 50, 25)),  # in the upper left, half as large
    ],
    ids=["any size", "a fixed size"],
)
def test_detectron2_as_onnx(tmp_path, size, box):
    path = detectron2_file(tmp_path / "d2.onnx", instances((box, 16, 0.9), (box, 0, 0.3)), size)
    assert seen(ask(detectron2.load(weights(path, "detectron2")), WIDE)) == [("dog", 50, 25, 50, 25)]


def test_detectron2_that_sees_nothing(tmp_path):
    path = detectron2_file(tmp_path / "d2.onnx", instances(), (100, 100))
    assert ask(detectron2.load(weights(path, "detectron2")), WIDE) == []


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_what_is_no_detector_of_detectron2_is_told(tmp_path, missing):
    arrays = instances(((0, 0, 5, 5), 0, 0.9))[:3]
    del arrays[missing]
    path = detectron2_file(tmp_path / "odd.onnx", arrays, (100, 100))
    with pytest.raises(ConfigError, match=r"odd\.onnx.*expected boxes"):
        detectron2.load(weights(path, "detectron2"))


def test_detectron2s_library_is_asked_for_only_with_its_own_files(tmp_path):
    (tmp_path / "mask.yaml").write_text("")
    with pytest.raises(ConfigError, match="needs detectron2, which is not installed"):
        detectron2.load(weights(tmp_path / "mask.yaml", "detectron2"))
