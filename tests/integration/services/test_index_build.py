"""`windmill index build` with real models: what it makes of real photos among hostile files."""

import json

import numpy as np
import pytest
import requests

from windmill import cli
from windmill.index.files import open_index

PHOTOS = 12
HOSTILE = 22  # files that are no images; the others can be read in spite of what is wrong with them


@pytest.fixture(scope="module")
def mixed(shared_data, tmp_path_factory):
    """A dozen photos among hostile files."""
    folder = tmp_path_factory.mktemp("mixed")
    photos = sorted((shared_data / "coco-photos").glob("*.jpg"))[:PHOTOS]
    for path in (*photos, *(shared_data / "hostile").iterdir()):
        (folder / path.name).symlink_to(path)
    return folder


def build(capsys, folder, prefix, *options):
    """The exit status, the summary, and what was said on standard error."""
    command = [
        "index",
        "build",
        "--image-dir",
        str(folder),
        "--index-prefix",
        str(prefix),
        "--json",
        *options,
    ]
    status = cli.main(command)
    said = capsys.readouterr()
    return status, json.loads(said.out or "{}"), said.err


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    return tmp_path_factory.mktemp("built") / "photos"


def test_photos_among_hostile_files_become_the_services_own_vectors(capsys, mixed, prefix, served):
    status, told, _ = build(capsys, mixed, prefix, "--service", "label_embedding", "--batch", "5")
    assert (status, told["added"], told["bad_count"]) == (1, told["images"], HOSTILE)
    assert told["images"] >= PHOTOS
    assert any("broken_data_stream.png: damaged" in line for line in told["bad"])
    (found,) = open_index(prefix).scan()
    for path, embedding in zip(found.paths, found.embeddings, strict=True):
        with open(path, "rb") as file:  # noqa: PTH123 -- a path as text
            asked = {
                "url": f"http://127.0.0.1:{served.port('label_embedding')}/embed/image",
                "files": {"file": file},
            }
            reply = requests.post(**asked, timeout=60).json()
        assert np.abs(embedding - np.array(reply["embedding"], np.float32)).max() <= 2e-6


def test_the_second_time_it_takes_the_indexs_own_model_and_embeds_nothing(capsys, mixed, prefix):
    status, told, said = build(capsys, mixed, prefix)
    assert (status, told["added"], told["bad_count"], told["known"]) == (1, 0, HOSTILE, told["images"])
    assert "label_embedding: it made the index" in said


def test_an_index_of_another_model_is_refused_and_stays_as_it_was(capsys, mixed, prefix):
    before = {path: path.stat().st_mtime_ns for path in prefix.parent.rglob("*") if path.is_file()}
    status, told, said = build(capsys, mixed, prefix, "--service", "face_embedding")
    assert (status, told) == (2, {})
    assert "an index of label_embedding" in said
    assert {path: path.stat().st_mtime_ns for path in prefix.parent.rglob("*") if path.is_file()} == before


def test_photos_without_a_face_are_told_apart_from_bad_files(capsys, shared_data, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    face = sorted(shared_data.glob("faces/*/*.jpg"))[0]
    coffee = sorted((shared_data / "orientation").glob("*.jpg"))[0]
    for path in (face, coffee, shared_data / "hostile" / "broken_data_stream.png"):
        (folder / path.name).symlink_to(path)
    status, told, _ = build(capsys, folder, tmp_path / "faces", "--service", "face_embedding")
    assert (status, told["added"], told["without"], told["bad_count"]) == (1, 1, 1, 1)
    assert build(capsys, folder, tmp_path / "faces")[1]["without"] == 1


def test_without_photos_it_is_not_well(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    status, told, _ = build(capsys, tmp_path / "empty", tmp_path / "index", "--service", "label_embedding")
    assert (status, told["images"]) == (1, 0)


def test_a_folder_that_is_not_there_is_named_before_anything_is_loaded(capsys, tmp_path):
    status, _, said = build(capsys, tmp_path / "nowhere", tmp_path / "index")
    assert status == 2
    assert "nowhere: no such folder" in said
    assert list(tmp_path.iterdir()) == []
