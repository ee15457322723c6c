"""`windmill search`, as it is typed."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pictures

from tests import made_index
from windmill import cli
from windmill.commands import searchers
from windmill.errors import StoreUnavailable
from windmill.findings import Findings, FoundBox
from windmill.index import answers
from windmill.index.cutoffs import RULES, Kind, Rule
from windmill.model import Box, Numbering

CAT = Findings(
    image_id=1,
    filename="cat.jpg",
    path="cat.jpg",
    width=4,
    height=4,
    votes=(("🐈", "cat", 3),),
    boxes=(FoundBox(label="cat", box=Box(x=0, y=0, width=2, height=2), detection_count=2, score=0.9),),
)


class Facts:
    """A database that knows the cat; or none at all."""

    def __init__(self, away=False):
        self.away = away

    def matching(self, where, numbering):
        self.of((), numbering)
        return np.array([2])

    def of(self, ids, numbering):
        if self.away:
            raise StoreUnavailable("PostgreSQL cannot be reached")
        return {1: CAT}

    def close(self):
        pass


@pytest.fixture
def index(monkeypatch, tmp_path):
    """An index whose words fit from 0.5 on; a database and originals that are there."""
    for name, size in (("cat.jpg", 4), ("dog.jpg", 5)):
        Pictures.new("RGB", (size, size)).save(tmp_path / name)
    store = made_index.store((tmp_path / "cat.jpg", tmp_path / "dog.jpg", tmp_path / "gone.jpg"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searchers, "store", lambda address, settings: store)
    monkeypatch.setattr(searchers, "model", lambda embedder, settings: made_index.Model())
    monkeypatch.setattr(searchers, "PostgresFacts", lambda settings, name: Facts())
    monkeypatch.setitem(RULES, ("made", 4), {Kind.WORDS: Rule(0.5)})
    return store


def search(*words):
    return cli.main(["search", *words])


def test_words_find_images_and_what_was_found_in_them(index, capsys):
    assert search("cat") == 0
    said = capsys.readouterr().out
    assert said.index("1.000") < said.index("0.800")
    assert "cat.jpg" in said
    assert "gone.jpg" in said
    assert "dog.jpg" not in said  # its score is 0
    assert "🐈 cat 3" in said
    assert "cat 0.90 ×2" in said


def test_nothing_fits_says_how_to_see_it_all_the_same(index, capsys):
    assert search("--text", "submarine") == 1
    said = capsys.readouterr().out
    assert said.startswith("nothing fits: the best score is 0.000, and the cut-off 0.500; --min-score 0.00")
    assert search("submarine", "--min-score", "0.00") == 0


def test_the_answer_as_json_is_the_documents(index, capsys):
    assert search("cat", "--json", "--top-k", "1", "--where", "nsfw < 0.1", "--min-score", "-1") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["query"]["where"] == "nsfw < 0.1"
    assert said["matching"] == 1
    assert [hit.image_id for hit in answers.parse(said).answer.hits] == [2]


def test_copies_are_made_and_what_is_gone_is_named(index, capsys, tmp_path):
    assert search("cat", "--copy-results", str(tmp_path / "found")) == 1
    (copied,) = (tmp_path / "found").iterdir()
    assert copied.name.endswith("_rank001.jpg")
    assert copied.read_bytes() == (tmp_path / "cat.jpg").read_bytes()
    said = capsys.readouterr().err
    assert "copied to" in said
    assert ": 1 of 2" in said
    assert "not copied: image 3: " in said
    assert "gone.jpg: cannot read it" in said


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "what is looked for"),
        (("cat", "--text", "dog"), 2, "--text"),
        (("cat", "--top-k", "0"), 2, "1 to 10,000"),
        (("cat", "--min-score", "nan"), 2, "--min-score"),
        (("cat", "--where", "nonsense"), 2, "nonsense"),
        (("--like", str(10**20)), 2, f"--like {10**20}: expected an image's id"),
        (("--like", "99"), 2, "image 99 is not in the index"),
        (("--image", "notes.txt"), 1, "notes.txt: not an image"),
        (("--image", "missing.jpg"), 1, "missing.jpg: cannot read it"),
        (("cat", "--remote", "nowhere"), 2, "expected http"),
    ],
)
def test_what_cannot_be_searched_is_told(index, capsys, tmp_path, words, status, said):
    (tmp_path / "notes.txt").write_text("no image")
    assert search(*words) == status
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("number", [str(10**20), str(2**63), "-1", "9" * 5000, "²", "cat"])
def test_a_number_that_no_image_can_have_is_not_deleted(index, capsys, number):
    with pytest.raises(SystemExit) as ended:
        cli.main(["index", "delete", "--", number])
    assert ended.value.code == 2
    assert number[:40] in (said := capsys.readouterr().err)
    assert "expected an image's id" in said


def test_a_file_that_is_too_large_is_told(index, capsys, monkeypatch):
    monkeypatch.setenv("MAX_IMAGE_MB", "0.1")
    Pictures.effect_noise((500, 500), 90).save("large.png")
    assert search("--image", "large.png") == 1
    assert "larger than 0.1 MB" in capsys.readouterr().err


def test_without_a_database_hits_are_shown_and_conditions_are_told(index, capsys, monkeypatch):
    monkeypatch.setattr(searchers, "PostgresFacts", lambda settings, name: Facts(away=True))
    assert search("cat") == 0
    assert "cat.jpg" in capsys.readouterr().out
    assert search("cat", "--where", "nsfw < 0.1") == 1
    said = capsys.readouterr().err
    assert "PostgreSQL cannot be reached" in said
    assert "what was found in them" not in said  # an index of files needs no database
    index.numbering = Numbering.IMAGES
    assert search("cat") == 0
    assert "what was found in them: PostgreSQL cannot be reached" in capsys.readouterr().err


def test_an_index_with_nothing_in_it_says_so(index, capsys, monkeypatch):
    monkeypatch.setattr(searchers, "store", lambda address, settings: made_index.store(()))
    assert search("cat") == 1
    assert capsys.readouterr().out == "nothing fits: the index is empty\n"


def test_a_model_that_is_nowhere_says_both_remedies(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    embedder = replace(made_index.EMBEDDER, service="clip")
    monkeypatch.setattr(searchers, "store", lambda address, settings: made_index.store(embedder=embedder))

    there = importlib.import_module

    def without_extra(name, *package):
        if name == "windmill.engines.in_process":
            raise ModuleNotFoundError(name="onnxruntime")
        return there(name, *package)

    monkeypatch.setattr(importlib, "import_module", without_extra)
    assert search("cat") == 2
    said = capsys.readouterr().err
    assert "windmill serve clip" in said
    assert "pip install 'windmill-images[services]'" in said
