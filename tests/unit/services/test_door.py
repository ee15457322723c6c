"""Paths that strangers name: under the root, or not at all."""

import os

import pytest

from windmill.errors import ImageError
from windmill.services import door


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"s")
    (folder / "out").symlink_to(tmp_path)
    (folder / "in").symlink_to(folder / "a.jpg")
    (folder / "round").symlink_to(folder / "round")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize("text", ["a.jpg", "in", "./a.jpg"])
def test_a_file_under_the_root_is_read(root, text):
    assert door.from_path(text, root) == b"a"


@pytest.mark.parametrize("text", ["../secret", "out/secret", "/etc/passwd", "../root2/x"])
def test_what_lies_elsewhere_is_refused(root, text):
    with pytest.raises(ImageError, match="not under"):
        door.from_path(text, root)


@pytest.mark.parametrize("text", ["", ".", "none.jpg", "pipe", "round", "a\0b", "x" * 5000])
def test_what_is_no_file_is_refused(root, text):
    with pytest.raises(ImageError, match=r"no such file|not a path"):
        door.from_path(text, root)


def test_without_a_root_nothing_is_read(root):
    with pytest.raises(ImageError, match="--file-root"):
        door.from_path(str(root / "a.jpg"), None)
