"""Downloads go on where they broke off, and what is not what was wanted never gets its name."""

import hashlib
import shutil
from types import SimpleNamespace

import pytest

from tests.files_server import Files, serving
from windmill.services.weights import download as module
from windmill.services.weights.download import Digest, DownloadError, Wanted, download

DATA = bytes(range(256)) * 4000  # about 1 MB
OTHER = DATA[::-1]
SHA256 = Digest("sha256", hashlib.sha256(DATA).hexdigest())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE", 0.0)


@pytest.fixture
def files():
    with serving(Files({"/model.bin": DATA})) as served:
        yield served


def wanted(files, digest=SHA256, **about):
    return Wanted(url=f"{files.url}/model.bin", digest=digest, **about)


def interrupted(files, target, digest=SHA256):
    """A download that gave up after 300,000 bytes: what a kill leaves."""
    files.cuts = [300_000]
    files.refusals = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TRIES", 1)
        with pytest.raises(DownloadError, match="Connection broken"):
            download(wanted(files, digest), target)
    assert not target.exists()
    files.asked.clear()
    files.sent = 0


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_comes_whole_and_nothing_else_is_left(files, tmp_path):
    download(wanted(files, size=len(DATA)), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == DATA
    assert left(tmp_path / "model.bin") == ["model.bin"]


def test_what_broke_off_goes_on(files, tmp_path):
    files.cuts = [300_000, 100_000]
    download(wanted(files), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == DATA
    assert files.ranges_asked() == [None, "bytes=300000-", "bytes=400000-"]
    assert files.sent == len(DATA)


def test_a_line_that_breaks_again_and_again_gets_there(files, tmp_path):
    files.cuts = [100_000] * 9
    download(wanted(files), tmp_path / "model.bin")
    assert files.sent == len(DATA)


def test_a_part_of_another_version_or_address_is_not_gone_on_with(files, tmp_path):
    interrupted(files, tmp_path / "model.bin")
    files.content["/model.bin"] = OTHER
    digest = Digest("sha256", hashlib.sha256(OTHER).hexdigest())
    download(wanted(files, digest), tmp_path / "model.bin")
    assert files.ranges_asked() == [None]
    interrupted(files, tmp_path / "new.bin", digest=None)
    files.content["/new.bin"] = DATA
    download(Wanted(url=f"{files.url}/new.bin"), tmp_path / "new.bin")
    assert (tmp_path / "new.bin").read_bytes() == DATA
    assert files.ranges_asked() == [None]


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', None])
def test_the_next_run_asks_for_the_rest_only(files, tmp_path, etag):
    files.etag = etag
    interrupted(files, tmp_path / "model.bin")
    download(wanted(files), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == DATA
    assert files.sent == len(DATA) - 300_000
    (headers,) = [headers for _, headers in files.asked]
    assert headers.get("If-Range") == ('"1"' if etag == '"1"' else None)  # a weak one will not do


def test_a_server_that_does_not_know_ranges_sends_all_again(files, tmp_path):
    interrupted(files, tmp_path / "model.bin")
    files.ranges = False
    download(wanted(files), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == DATA


@pytest.mark.parametrize("honest", [True, False])
def test_a_file_that_changed_meanwhile_is_not_pieced_together(files, tmp_path, honest):
    interrupted(files, tmp_path / "model.bin", digest=None)
    files.content["/model.bin"], files.etag, files.if_range = OTHER, '"2"', honest
    download(wanted(files, digest=None), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_hash_or_a_strong_etag_it_begins_anew(files, tmp_path, etag):
    files.etag = etag
    interrupted(files, tmp_path / "model.bin", digest=None)
    download(wanted(files, digest=None), tmp_path / "model.bin")
    assert files.ranges_asked() == [None]


def test_the_part_of_another_file_is_found_out_by_its_hash(files, tmp_path):
    interrupted(files, tmp_path / "model.bin")
    (tmp_path / "model.bin.part").write_bytes(OTHER[:300_000])
    download(wanted(files), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == DATA


def test_what_had_come_whole_is_not_asked_for_again(files, tmp_path):
    interrupted(files, tmp_path / "model.bin")
    (tmp_path / "model.bin.part").write_bytes(DATA)
    download(wanted(files), tmp_path / "model.bin")
    download(wanted(files), tmp_path / "model.bin")
    assert files.asked == []


def test_a_wrong_hash_is_refused_and_deleted(files, tmp_path):
    files.content["/model.bin"] = OTHER
    with pytest.raises(DownloadError) as caught:
        download(wanted(files), tmp_path / "model.bin")
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert SHA256.value in str(caught.value)
    assert left(tmp_path / "model.bin") == []


def test_another_size_is_refused_before_it_comes(files, tmp_path):
    with pytest.raises(DownloadError, match="would be 1,024,000 bytes, expected 5"):
        download(wanted(files, size=5), tmp_path / "model.bin")
    assert files.asked and left(tmp_path / "model.bin") == []


def test_a_server_that_tells_no_size_is_checked_by_what_came(files, tmp_path):
    files.sized, files.cuts = False, [300_000]
    with pytest.raises(DownloadError, match="300,000 bytes came, expected 1,024,000"):
        download(wanted(files, size=len(DATA)), tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("statuses", "requests"), [([503, 429, 500], 4), ([404], 1), ([401], 1), ([502, 502, 502, 502], 4)]
)
def test_what_may_pass_is_tried_again_a_few_times(files, tmp_path, statuses, requests):
    files.refusals = list(statuses)
    if len(statuses) == requests:
        with pytest.raises(DownloadError, match=f"HTTP {statuses[-1]}") as caught:
            download(wanted(files), tmp_path / "model.bin")
        assert caught.value.refused == (statuses != [404])
    else:
        download(wanted(files), tmp_path / "model.bin")
    assert len(files.asked) == requests


def test_a_server_that_is_not_there_is_named(tmp_path):
    with serving(Files()) as gone:
        pass
    with pytest.raises(DownloadError, match=rf"{gone.url}/model.bin: .*refused"):
        download(wanted(gone), tmp_path / "model.bin")


def test_a_token_stays_with_its_host(files, tmp_path):
    files.redirect = f"{files.url.replace('127.0.0.1', 'localhost')}/model.bin"
    moved = Wanted(url=f"{files.url}/moved", digest=SHA256, headers={"Authorization": "Bearer secret"})
    files.cuts = [300_000]
    download(moved, tmp_path / "model.bin")
    told = [(path, "Authorization" in headers, headers.get("Range")) for path, headers in files.asked]
    assert told == [
        ("/moved", True, None),
        ("/model.bin", False, None),
        ("/moved", True, "bytes=300000-"),
        ("/model.bin", False, "bytes=300000-"),
    ]
    assert "secret" not in repr(moved)


def test_no_room_is_said_before_anything_is_written(files, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DownloadError, match="no room: 1 MB are to come, 0 MB are free"):
        download(wanted(files), tmp_path / "model.bin")


def test_a_proxy_of_the_environment_is_asked(files, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", files.url)
    monkeypatch.setenv("no_proxy", "")
    files.content["http://weights.test/model.bin"] = DATA
    download(Wanted(url="http://weights.test/model.bin", digest=SHA256), tmp_path / "model.bin")
    assert files.asked[0][0] == "http://weights.test/model.bin"


def test_files_of_git_are_known_by_their_blobs(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")  # echo hello | git hash-object --stdin
    assert Digest("git", "").of(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"
