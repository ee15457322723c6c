"""Files that a list names: below IMAGE_ROOTS by what is opened, not by what they are called."""

import os
from pathlib import Path

import pytest

from windmill import files
from windmill.errors import ConfigError, ImageError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.model import Image
from windmill.settings import Settings


@pytest.fixture
def tree(tmp_path):
    """Two roots, a folder whose name begins like a root's, and links in and out."""
    for folder in ("root/deep", "other", "root-of-evil"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.jpg").write_bytes(folder.encode())
    (tmp_path / "root" / "out").symlink_to(tmp_path / "root-of-evil")
    (tmp_path / "root" / "out.jpg").symlink_to(tmp_path / "root-of-evil" / "a.jpg")
    (tmp_path / "root" / "in.jpg").symlink_to(tmp_path / "root" / "deep" / "a.jpg")
    (tmp_path / "root" / "round").symlink_to(tmp_path / "root" / "round")
    (tmp_path / "elsewhere.jpg").symlink_to(tmp_path / "other" / "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    return tmp_path


def read(tree, name):
    roots = (tree / "link", tree / "other")
    return ImageFiles(Settings(image_roots=roots)).read(Image(image_id=1, path=f"{tree}/{name}"))


@pytest.mark.parametrize(
    "name", ["root/deep/a.jpg", "link/deep/a.jpg", "root/in.jpg", "other/a.jpg", "elsewhere.jpg"]
)
def test_what_lies_below_a_root_is_read(tree, name):
    assert read(tree, name)


@pytest.mark.parametrize(
    "name",
    [
        "root-of-evil/a.jpg",
        "root/../root-of-evil/a.jpg",
        "root/out/a.jpg",
        "root/out.jpg",
        "root/out/not-there.jpg",
        "../../../../etc/passwd",
    ],
)
def test_what_lies_elsewhere_is_refused_with_the_setting_s_name(tree, name):
    with pytest.raises(ImageError, match="not below a folder of IMAGE_ROOTS"):
        read(tree, name)


@pytest.mark.parametrize("name", ["root/none.jpg", "root/deep", "root/round", "root/a\0b"])
def test_what_is_no_file_below_a_root_says_why(tree, name):
    with pytest.raises(ImageError, match=r"cannot read it|no file can be called that"):
        read(tree, name)


@pytest.mark.parametrize("proc", [True, False])
def test_a_link_that_is_put_there_after_the_first_look_gains_nothing(tree, monkeypatch, proc):
    victim = tree / "root" / "deep" / "a.jpg"
    check = files._check_kind

    def swap(path, about, most):
        """What somebody does who writes below the root while we look."""
        check(path, about, most)
        if not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(tree / "root-of-evil" / "a.jpg")

    monkeypatch.setattr(files, "_check_kind", swap)
    if not proc:
        monkeypatch.setattr(Path, "readlink", lambda _: (tree / "none").stat())
    with pytest.raises(ImageError, match="not below a folder of IMAGE_ROOTS"):
        read_file(victim, 100, (tree / "root",))


@pytest.mark.parametrize("proc", [True, False])
def test_a_link_that_is_there_only_while_it_is_opened_gains_nothing(tree, monkeypatch, proc):
    victim, real = tree / "root" / "deep" / "a.jpg", os.open

    def swap(path, flags, *rest):
        victim.unlink()
        victim.symlink_to(tree / "root-of-evil" / "a.jpg")
        try:
            return real(path, flags, *rest)
        finally:
            victim.unlink()
            victim.write_bytes(b"innocent")

    monkeypatch.setattr(os, "open", swap)
    if not proc:
        monkeypatch.setattr(Path, "readlink", lambda _: (tree / "none").stat())
    with pytest.raises(ImageError, match=r"not below a folder of IMAGE_ROOTS|replaced while it was opened"):
        read_file(victim, 100, (tree / "root",))


@pytest.mark.parametrize("roots", [True, False])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tree, monkeypatch, roots):
    victim = tree / "root" / "deep" / "a.jpg"
    real = os.open

    def swap(path, flags, *rest):
        victim.unlink()
        os.mkfifo(victim)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(ImageError, match="a pipe"):
        read_file(victim, 100, (tree / "root",) if roots else ())


def test_a_root_that_is_not_mounted_is_named_at_the_start(tmp_path):
    files.check_roots([tmp_path])
    with pytest.raises(ConfigError, match=r"IMAGE_ROOTS: .*nas is no folder on this machine"):
        files.check_roots([tmp_path, tmp_path / "nas"])


def test_a_folder_in_a_file_s_place_costs_no_descriptor(tmp_path):
    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(20):
        with pytest.raises(ImageError, match="directory"):
            read_file(tmp_path, 10_000)
    assert open_files() == before
