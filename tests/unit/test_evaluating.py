"""What the figures of `windmill eval services` say, with services that are made up here."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from windmill import catalog
from windmill.cli import main
from windmill.core import replies
from windmill.errors import ConfigError, ServiceUnavailable
from windmill.evaluating import detection, faces, labelling, reading, table, truth
from windmill.evaluating.asking import Answer
from windmill.evaluating.exam import Exam
from windmill.evaluating.table import Candidate
from windmill.services import registry

pytest.importorskip("pycocotools", reason="the extra [eval] is not installed")


@dataclass
class Says:
    """A service that knows each picture by its bytes, and what to say to it."""

    name: str
    replies: dict = field(default_factory=dict)
    otherwise: list = field(default_factory=list)

    @property
    def service(self):
        return catalog.facts(self.name)

    def analyze(self, picture):
        said = self.replies.get(picture, self.otherwise)
        data = said if isinstance(said, dict) else {"predictions": said}
        return Answer(replies.read(self.service, data), data["predictions"])

    def score(self, picture, caption):
        return 0.5 if caption == self.replies[picture] else 0.1


def box(label, x, confidence, emoji=""):
    corners = {"x": x, "y": 0, "width": 10, "height": 10}
    return {"label": label, "confidence": confidence, "emoji": emoji, "bbox": corners}


@pytest.fixture
def photos(tmp_path):
    """Two photos: a person and a dog; two dogs."""
    entries = []
    for name, objects in (("a", [("person", 0), ("dog", 50)]), ("b", [("dog", 0), ("dog", 50)])):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
        told = [{"label": label, "bbox": [x, 0, 10, 10]} for label, x in objects]
        entries.append({"file_name": f"{name}.jpg", "captions": [f"photo {name}"], "objects": told})
    (tmp_path / "photos.json").write_text(json.dumps(entries))
    return truth.photos(tmp_path)


def figures(measure, asked, photos=(), people=()):
    return {one.name: one for one in measure(Exam(asked, photos, dict(people)))}


def values(*given):
    return {name: pytest.approx(one.value, abs=1e-3) for name, one in figures(*given).items()}


def test_a_detector_that_finds_all_and_nothing_else_has_one_in_all(photos):
    every = {
        b"a": [box("person", 0, 0.9), box("dog", 51, 0.9)],
        b"b": [box("dog", 0, 0.5), box("dog", 50, 0.6)],
    }
    assert values(detection.measure, Says("yolov8", every), photos) == {
        "AP50": 1,
        "precision": 1,
        "recall": 1,
    }


def test_average_precision_is_as_coco_defines_it(photos):
    """No person; of three dogs one, which is less sure than a wrong box: precision 0.5 up to a recall of a
    third, which is 34 of 101 points, for one of two classes."""
    said = {b"a": [box("dog", 50, 0.8)], b"b": [box("dog", 200, 0.9), box("zebra", 300, 0.9)]}
    assert values(detection.measure, Says("yolov8", said), photos) == {
        "AP50": 0.5 * 34 / 101 / 2,
        "precision": 1 / 3,
        "recall": 1 / 4,
    }


def test_a_detector_that_finds_nothing_has_nothing(photos):
    assert set(values(detection.measure, Says("yolov8"), photos)) == {"AP50", "precision", "recall"}
    assert all(one.value == 0 for one in figures(detection.measure, Says("yolov8"), photos).values())


@pytest.mark.parametrize(
    ("label", "emoji", "precision", "recall"),
    [
        ("Dog", "", 1, 1 / 2),
        ("Poodle", "🐕", 1, 1 / 2),
        ("Man", "👨", 1 / 2, 1 / 4),  # a person, and wrong where the dog is
        ("Tree", "🌳", 1, 1 / 4),  # no class of COCO: neither right nor wrong
        ("class 7", "", 1, 1 / 4),
    ],
)
def test_other_vocabularies_count_by_name_and_else_by_emoji(photos, label, emoji, precision, recall):
    said = {b"a": [box(label, 50, 0.8, emoji)], b"b": [box("dog", 0, 0.9)]}
    found = values(detection.measure, Says("yolo_oi7", said), photos)
    assert (found["precision"], found["recall"]) == (precision, recall)


def test_top_five_leaves_people_out_and_says_what_guessing_would_give(photos):
    dogs = {"predictions": [], "full_image": [{"label": "pug", "confidence": 0.6, "emoji": "🐕"}]}
    people = {"predictions": [], "full_image": [{"label": "groom", "confidence": 0.6, "emoji": "🧑"}]}
    found = figures(labelling.top_five, Says("xception", {b"a": dogs, b"b": people}), photos)["top 5"]
    assert (found.value, found.chance) == (0.5, 0.5)


def test_top_five_are_the_surest(photos):
    many = [
        {"label": str(n), "confidence": 0.1 + n / 10, "emoji": symbol}
        for n, symbol in enumerate("🐕🚗🚌🚲🐈🐎")
    ]
    said = {"predictions": [], "full_image": many}
    assert figures(labelling.top_five, Says("xception", {b"a": said, b"b": said}), photos)["top 5"].value == 0


def test_captioners_are_measured_by_the_emoji_of_their_words(photos):
    said = [{"text": "a dog", "emoji_mappings": [{"emoji": "🐕", "word": "dog"}]}]
    assert figures(labelling.top_five, Says("blip", otherwise=said), photos)["top 5"].value == 1


def test_faces_and_poses_count_where_there_is_a_person(photos):
    face = [{"label": "face", "emoji": "🙂", "confidence": 0.9, "bbox": [0, 0, 5, 5]}]
    assert figures(labelling.on_people, Says("face", {b"b": face}), photos)["found"].value == 0
    assert figures(labelling.on_people, Says("face", {b"a": face}), photos)["found"].value == 1


def test_false_alarms_are_counted(photos):
    nude = [{"nsfw": True, "confidence": 0.9, "emoji": "🔞"}]
    clean = [{"nsfw": False, "confidence": 0.9, "emoji": ""}]
    assert figures(labelling.flagged, Says("nsfw2", {b"a": nude}, clean), photos)["flagged"].value == 0.5


def test_a_photos_own_caption_should_score_higher(photos):
    scores = Says("caption_score", {b"a": "photo a", b"b": "photo a"})
    assert figures(labelling.captions, scores, photos)["own caption"].value == 0.5


def test_a_reader_is_measured_by_the_letters_that_were_drawn():
    perfect = {
        sheet.picture: [{"text": sheet.text.replace(" ", "\n"), "emoji": "💬", "has_text": True}]
        for sheet in reading.drawn()
    }
    found = {name: one.value for name, one in figures(reading.measure, Says("ocr", perfect)).items()}
    drawn = {name: rate for name, rate in found.items() if name not in ("CER", "CER a photographed page")}
    assert len(drawn) == 11
    assert set(drawn.values()) == {0}
    nothing = [{"text": "", "emoji": "💬", "has_text": False}]
    assert figures(reading.measure, Says("ocr", otherwise=nothing))["CER"].value == 1


def test_what_is_drawn_is_a_picture_with_ink():
    for sheet in reading.drawn():
        assert len(sheet.picture) > 500, sheet.group


def test_embeddings_are_measured_by_pairs(tmp_path):
    """Four people, two photos each; the last one's photos look like two others."""
    vectors = {
        "a": [[1, 0], [1, 0.1]],
        "b": [[0, 1], [0.1, 1]],
        "c": [[-1, 0], [-1, 0.1]],
        "d": [[0, -1], [0.1, -1]],
    }
    said = {}
    for person, both in vectors.items():
        (tmp_path / person).mkdir()
        for n, vector in enumerate(both):
            (tmp_path / person / f"{n}.jpg").write_bytes(f"{person}{n}".encode())
            small = {"bbox": [0, 0, 2, 2], "embedding": [5, 5]}
            said[f"{person}{n}".encode()] = [small, {"bbox": [0, 0, 9, 9], "embedding": vector}]
    people = truth.people(tmp_path)
    found = figures(faces.measure, Says("face_embedding", said), (), people)
    assert [found[name].value for name in ("AUC", "accuracy", "found")] == [1, 1, 1]
    said[b"d1"] = []
    with pytest.raises(ConfigError, match="too few people"):
        figures(faces.measure, Says("face_embedding", {b"a0": said[b"a0"]}), (), people)


def test_ties_count_half():
    known = faces.Pairs(np.array([0.2, 0.5]), np.array([0.1, 0.2]))
    assert faces.auc(known) == (1 + 0.5 + 1 + 1) / 4


def test_every_reference_service_is_measured_or_has_nothing_to_hold_it_against():
    without = {"colors", "metadata", "label_embedding", "resnet50"}
    for name in registry.SERVICES:
        if name in without:
            with pytest.raises(ConfigError, match="nothing to hold"):
                table.measure(catalog.facts(name))
        else:
            assert table.measure(catalog.facts(name))


def test_a_service_that_is_not_there_is_listed_with_the_reason(photos):
    def away():
        raise ServiceUnavailable("gpu2 cannot be reached", service="clip")

    found = list(
        table.rows([Candidate("clip", away), Candidate("yolov8", lambda: Says("yolov8"))], photos, {})
    )
    assert [(row.name, row.reason, bool(row.figures)) for row in found] == [
        ("clip", "gpu2 cannot be reached", False),
        ("yolov8", "", True),
    ]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '[{"file_name": "none.jpg", "objects": []}]', '[{"objects": []}]',
     '[{"file_name": "a.jpg", "objects": [{"label": "dog", "bbox": [1, 2]}]}]',
     f'[{{"file_name": "a.jpg", "objects": [{{"label": "dog", "bbox": [{10**400}, 0, 1, 1]}}]}}]'],
    ids=["nothing", "empty", "object", "no photo", "no name", "two numbers", "too large"],
)  # fmt: skip
def test_data_that_cannot_be_meant_is_told(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "photos.json").write_text(content)
    with pytest.raises(ConfigError, match=r"photos\.json"):
        truth.photos(tmp_path)


def test_an_interrupt_leaves_what_was_measured(photos, monkeypatch, capsys):
    def interrupted(*_):
        yield table.Row("yolov8", tuple(detection.measure(Exam(Says("yolov8"), photos, {}))), 5.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "rows", interrupted)
    folder = str(photos[0].path.parent)
    assert main(["eval", "services", "--data", folder, "--json"]) == 130
    document = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in document["services"]] == ["yolov8"]


def test_a_table_says_what_each_figure_means(tmp_path, capsys):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    about = [{"file_name": "a.png", "objects": [{"label": "dog", "bbox": [0, 0, 9, 9]}]}]
    (tmp_path / "photos.json").write_text(json.dumps(about))
    assert main(["eval", "services", "--data", str(tmp_path), "--services", "colors"]) == 1
    assert "nothing to hold its answers against" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--services", "nobody"], "nobody: no reference service"),
        (["--url", "http://x"], "expected NAME=URL"),
    ],
)
def test_arguments_that_make_no_sense_are_told(photos, words, said, capsys):
    assert main(["eval", "services", "--data", str(photos[0].path.parent), *words]) == 2
    assert said in capsys.readouterr().err
