"""`windmill index build`: what a person is told, whatever the engine."""

import json
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest

from tests.unit.engines.made import EMBEDDER
from windmill import cli
from windmill.commands import index_build
from windmill.engines.building import Built
from windmill.errors import StoreUnavailable
from windmill.index.files import create, open_index
from windmill.index.files.layout import Layout
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering
from windmill.services import weights

ONE = Vectors(ids=np.array([7]), paths=["/photos/a.jpg"], embeddings=np.array([[1, 0, 0, 0]], np.float32))


@pytest.fixture
def build(tmp_path, monkeypatch, capsys):
    """Runs the command with an engine that does as it is told; gives status, output and errors."""

    def run(engine, *options):
        def ready(args, settings, prefix, service):
            store = partial(create, prefix, EMBEDDER, Numbering.CONTENT)
            return index_build._Ready(engine=engine, store=store, batch=8)

        monkeypatch.setattr(index_build, "ENGINES", {"local": ready})
        command = ["index", "build", "--image-dir", str(tmp_path), "--index-prefix", str(tmp_path / "photos")]
        status = cli.main([*command, "--service", "made", *options])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def engine(built, plans=None):
    def embed(plan, store, meter):
        if plans is not None:
            plans.append(plan)
        store.upsert(ONE)
        meter.update(1)
        return built

    return embed


def test_it_says_what_there_is_and_merges(build, tmp_path):
    status, out, _ = build(engine(Built(added=1, known=2, bad=(), without=3, ignored=4)))
    assert status == 0
    assert f"{tmp_path / 'photos'}: 1 images by made" in out
    assert (
        "1 embedded now, 2 files known, 0 bad, 3 in which the model finds nothing to embed, 4 other files"
        in out
    )
    assert (tmp_path / "photos.faiss").exists()


def test_without_merging_what_is_new_stays_in_segments(build, tmp_path):
    build(engine(Built(added=1, known=0, bad=())), "--no-merge")
    assert not (tmp_path / "photos.faiss").exists()
    assert open_index(tmp_path / "photos").count() == 1


def test_while_somebody_else_merges_it_ends_as_without(build, tmp_path, caplog):
    with ExitStack() as merging:

        def embed(plan, store, meter):
            store.upsert(ONE)
            merging.enter_context(Layout(tmp_path / "photos").lock())
            return Built(added=1, known=0, bad=())

        status, out, err = build(embed)
    assert status == 0
    assert "1 embedded now" in out
    assert "somebody else is merging it" in err + caplog.text


def test_some_bad_files_are_named_and_the_rest_is_counted(build):
    bad = tuple(f"{n}.jpg: damaged\x1b[2J" for n in range(50))
    status, out, err = build(engine(Built(added=1, known=0, bad=bad, unnamed=1000)))
    assert status == 1
    assert err.count("bad: ") == 20
    assert "and 1,030 more bad files" in err
    assert "\x1b" not in err
    assert "1,050 bad" in out


def test_the_summary_as_json_has_everything(build):
    built = Built(added=1, known=2, bad=("a.jpg: damaged",), unnamed=5, without=3, ignored=4)
    told = json.loads(build(engine(built), "--json")[1])
    assert (told["images"], told["added"], told["known"], told["without"], told["ignored"]) == (1, 1, 2, 3, 4)
    assert (told["bad"], told["bad_count"]) == (["a.jpg: damaged"], 6)


def test_how_many_at_once_is_the_models_own_unless_said(build):
    plans = []
    for options in ((), ("--batch", "32")):
        build(engine(Built(added=1, known=0, bad=()), plans), *options)
    assert [plan.batch for plan in plans] == [8, 32]
    assert build(engine(None), "--batch", "0")[0] == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (StoreUnavailable("photos: its disk is full: free some"), 1)],
)
def test_cut_short_it_says_what_stays_and_how_to_go_on(build, tmp_path, error, status):
    def cut(plan, store, meter):
        store.upsert(ONE)
        raise error

    found, _, said = build(cut)
    assert found == status
    assert "the 1 images that the index has stay. The same command goes on from here" in said
    assert str(error) in said
    assert open_index(tmp_path / "photos").count() == 1


@pytest.mark.parametrize(
    ("here", "installed", "chosen", "why"),
    [
        (True, True, "clip", "its weights are here"),
        (True, False, "label_embedding", "windmill-images[torch]"),
        (False, True, "label_embedding", "windmill models pull clip"),
    ],
)
def test_the_model_of_a_new_index_is_chosen_by_what_is_here(
    tmp_path, monkeypatch, caplog, here, installed, chosen, why
):
    monkeypatch.setattr(weights, "present", lambda name: here)
    monkeypatch.setattr(index_build.importlib.util, "find_spec", lambda name: installed or None)
    caplog.set_level("INFO")
    assert index_build._service(tmp_path / "photos") == chosen
    assert why in caplog.text


def test_the_model_of_an_index_that_is_there_is_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "present", lambda name: True)
    faces = Embedder(service="face_embedding", name="SFace", version="1", dimension=128)
    create(tmp_path / "photos", faces, Numbering.CONTENT)
    assert index_build._service(tmp_path / "photos") == "face_embedding"
