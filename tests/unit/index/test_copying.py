"""Copies of what was found."""

import resource
from datetime import UTC, datetime

import pytest

from windmill.errors import ConfigError, ImageError
from windmill.index.copying import copy, suffix
from windmill.index.vectors import Hit

NOW = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)


def hits(*paths):
    return [Hit(image_id=n, path=path, score=0.5) for n, path in enumerate(paths)]


def path_as_bytes(hit):
    return hit.path.encode()


def test_copies_stand_in_the_order_of_the_hits(tmp_path):
    done = copy(hits("/a/cat.JPG", "https://h/dog.png?size=4"), path_as_bytes, tmp_path / "new", NOW)
    names = ["match_20260131_235959_rank001.JPG", "match_20260131_235959_rank002.png"]
    assert [file.name for file in done.files] == names
    assert [file.read_bytes() for file in done.files] == [b"/a/cat.JPG", b"https://h/dog.png?size=4"]


def test_nothing_is_written_over(tmp_path):
    for _ in range(2):
        copy(hits("/a/cat.jpg"), path_as_bytes, tmp_path, NOW)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["match_20260131_235959_rank001.jpg", "match_20260201_000000_rank001.jpg"]


def test_an_original_that_is_gone_is_named_and_the_others_are_copied(tmp_path):
    def read(hit):
        if hit.image_id == 0:
            raise ImageError("/a/cat.jpg: cannot read it")
        return b"x"

    done = copy(hits("/a/cat.jpg", "/a/dog.jpg"), read, tmp_path, NOW)
    assert done.missing == ("image 0: /a/cat.jpg: cannot read it",)
    assert [file.name for file in done.files] == ["match_20260131_235959_rank002.jpg"]


def test_where_nothing_more_can_be_written_it_is_said_and_no_part_of_a_file_stays(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ConfigError, match=rf"{tmp_path}: cannot write there: .*; 1 of 2 files are there"):
            copy(hits("/a/cat.jpg", "/a/dog.jpg"), lambda hit: b"x" * (2000 * hit.image_id), tmp_path, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.name for file in tmp_path.iterdir()] == ["match_20260131_235959_rank001.jpg"]


def test_a_file_in_the_folders_place_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: cannot write there: File exists"):
        copy(hits("/a/cat.jpg"), path_as_bytes, tmp_path / "file", NOW)


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b", ""), ("/a.d/b", ""), ("a.tar.gz", ".gz"), ("x.toolong", ""), ("x.a/..", "")],
)
def test_only_a_suffix_is_one(path, expected):
    assert suffix(path) == expected
