"""Ingest: what is admitted, what is a duplicate, what is bad, and that nothing stops the rest."""

import argparse
import io
import json
import os
import sys
from contextlib import nullcontext

import pytest

from windmill.commands import ingest as command
from windmill.errors import ConfigError, ImageError, StoreUnavailable
from windmill.images import ImageFiles
from windmill.ingesting import Admitted, candidates, count, ingest
from windmill.model import Measured
from windmill.settings import Settings


class Registry:
    """A table of images in memory."""

    def __init__(self):
        self.ids = {}
        self.rows = []

    def known(self, hashes):
        return {one: self.ids[one] for one in hashes if one in self.ids}

    def add(self, images):
        self.rows += images
        new = {image.content_hash: len(self.ids) + n for n, image in enumerate(images, 1)}
        self.ids |= new
        return new


class Silence:
    def update(self, done, total=None):
        pass


def read(one):
    if one.path is None:
        return b"from the web"
    with open(one.path, "rb") as file:  # noqa: PTH123 -- a path as text
        return file.read()


def measure(name, data):
    if b"bad" in data or b"notes" in data:
        raise ImageError(f"{name}: not an image")
    return Measured(width=4, height=3, as_is=b"turned" not in data)


def admit(source, registry=None, stdin="", **options):
    found = candidates(str(source), "demo", io.StringIO(stdin))
    return ingest(found, registry or Registry(), read=read, measure=measure, meter=Silence(), **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "deep" / "b.heic").write_bytes(b"b")
    (tmp_path / "deep" / "again.png").write_bytes(b"a")
    (tmp_path / "broken.jpg").write_bytes(b"bad")
    (tmp_path / "notes.txt").write_bytes(b"notes")
    (tmp_path / ".hidden.jpg").write_bytes(b"hidden")
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def test_a_folder_is_admitted_with_all_below_it(folder):
    registry = Registry()
    done = admit(folder, registry)
    assert sorted(image.filename for image in registry.rows) == ["a.jpg", "b.heic"]
    assert (done.added, len(done.duplicates), len(done.bad), done.ignored) == (2, 1, 1, 1)
    assert "broken.jpg: not an image" in done.bad[0]
    assert {(image.group, image.width, image.height) for image in registry.rows} == {("demo", 4, 3)}


def test_only_a_file_that_services_can_be_sent_is_noted_as_such(folder):
    (folder / "turned.jpg").write_bytes(b"turned")
    registry = Registry()
    admit(folder, registry)
    admit("-", registry, stdin="http://example.org/c.jpg\n")
    noted = {image.filename: image.as_is for image in registry.rows}
    assert noted == {"a.jpg": 1, "b.heic": 1, "turned.jpg": None, "c.jpg": None}


def test_paths_are_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    registry = Registry()
    admit(folder.name, registry)
    assert all(image.path.startswith("/") for image in registry.rows)


def test_what_is_there_already_is_a_duplicate_with_its_id(folder):
    registry = Registry()
    admit(folder, registry)
    again = admit(folder, registry)
    assert again.added == 0
    assert {image_id for _, image_id in again.duplicates} == set(registry.ids.values())


def test_a_dry_run_stores_nothing(folder):
    registry = Registry()
    assert admit(folder, registry, dry_run=True).added == 2
    assert registry.rows == []


def test_a_csv_file_names_paths_groups_and_file_names(folder):
    table = folder / "list.csv"
    table.write_text(f"path,group,filename\n{folder}/a.jpg,cats,first.jpg\n{folder}/deep/b.heic,,\n", "utf-8")
    registry = Registry()
    admit(table, registry)
    assert [(image.filename, image.group) for image in registry.rows] == [
        ("first.jpg", "cats"),
        ("b.heic", "demo"),
    ]


def test_a_csv_file_without_a_header_is_refused(tmp_path):
    (tmp_path / "list.csv").write_text("/a.jpg\n", "utf-8")
    with pytest.raises(ConfigError, match="column path or url"):
        list(candidates(str(tmp_path / "list.csv"), "demo", io.StringIO()))


def test_lines_on_standard_input_are_paths_and_addresses(folder):
    found = list(
        candidates("-", "demo", io.StringIO(f"{folder}/a.jpg\n\nhttps://example.org/x/cat.jpg?size=2\n"))
    )
    assert [(one.filename, one.url) for one in found] == [
        ("a.jpg", None),
        ("cat.jpg", "https://example.org/x/cat.jpg?size=2"),
    ]


def test_a_name_that_is_no_text_is_named(tmp_path):
    done = admit("-", stdin=f"{tmp_path}/caf\udce9.jpg\n")
    assert "not UTF-8" in done.bad[0]


def test_a_source_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="/nowhere: no such folder or file"):
        candidates("/nowhere", "demo", io.StringIO())


def test_content_says_what_is_an_image_and_the_ending_only_whether_it_is_worth_a_line(tmp_path):
    (tmp_path / "photo.txt").write_bytes(b"pixels")
    (tmp_path / "readme.txt").write_bytes(b"notes")
    (tmp_path / "photo.jpg").write_bytes(b"notes")
    registry = Registry()
    done = admit(tmp_path, registry)
    assert [image.filename for image in registry.rows] == ["photo.txt"]
    assert (done.ignored, done.bad_count) == (1, 1)
    assert "photo.jpg" in done.bad[0]


def test_a_text_that_was_named_is_worth_a_line(tmp_path):
    (tmp_path / "readme.txt").write_bytes(b"notes")
    assert admit(tmp_path / "readme.txt").bad_count == 1
    assert admit("-", stdin=f"{tmp_path}/readme.txt\n").bad_count == 1


def test_a_folder_that_cannot_be_opened_costs_one_line(folder, monkeypatch):
    scandir = os.scandir

    def guarded(place):
        if str(place).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", guarded)
    done = admit(folder)
    assert done.added == 1
    assert f"{folder}/deep: cannot look into this folder: Permission denied" in done.bad


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/a.jpg\0/b.jpg\0", "a NUL in it"),
        ("caf\udce9.jpg", "not UTF-8"),
    ],
)
def test_what_no_database_takes_is_named(line, said):
    assert said in admit("-", stdin=line + "\n").bad[0]


def test_a_csv_file_of_another_encoding_costs_its_odd_rows_only(folder):
    table = folder / "latin.csv"
    table.write_bytes(f"path,filename\n{folder}/a.jpg,Caf\xe9\n{folder}/deep/b.heic,b\n".encode("latin-1"))
    done = admit(table)
    assert (done.added, done.bad_count) == (1, 1)
    assert "save the list as UTF-8" in done.bad[0]


def test_a_row_that_names_nothing_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("path,url,group\n,,cats\n", "utf-8")
    assert admit(tmp_path / "list.csv").bad == [
        f"{tmp_path}/list.csv, line 2: neither path nor url in this row"
    ]


def test_a_quote_left_open_names_the_file(tmp_path):
    (tmp_path / "list.csv").write_text('path\n"' + "x" * 200_000, "utf-8")
    with pytest.raises(ConfigError, match=r"list\.csv: line .* not CSV"):
        admit(tmp_path / "list.csv")


@pytest.mark.parametrize("address", ["HTTPS://example.org/a/cat.jpg", "s3://bucket/a/cat.jpg"])
def test_what_looks_like_an_address_is_one(address):
    (one,) = candidates("-", "demo", io.StringIO(address))
    assert (one.url, one.path, one.filename) == (address, None, "cat.jpg")


def test_what_another_run_added_meanwhile_is_a_duplicate(folder):
    class Overtaken(Registry):
        def add(self, images):
            super().add(images)
            return {}

    done = admit(folder, Overtaken())
    assert (done.added, done.duplicate_count) == (0, 3)
    assert all(image_id for _, image_id in done.duplicates)


def test_a_dry_run_knows_its_duplicates_in_later_batches_too(tmp_path):
    for n in range(250):
        (tmp_path / f"{n}.jpg").write_bytes(b"a")
    done = admit(tmp_path, dry_run=True)
    assert (done.added, done.duplicate_count) == (1, 249)


def test_bad_files_are_told_at_once_and_few_are_kept(folder):
    (folder / "worse.jpg").write_bytes(b"bad")
    told = []
    done = admit(folder, done=Admitted(tell=told.append, most_named=1))
    assert (len(told), done.bad_count, len(done.bad)) == (2, 2, 1)
    again = admit(folder, done=Admitted(most_named=0))
    assert (again.duplicate_count, again.duplicates) == (1, [])


def test_the_total_is_what_will_be_seen(folder):
    (folder / "list.csv").write_text("path\na.jpg\nb.jpg\n", "utf-8")
    assert count(str(folder)) == admit(folder).seen == 6
    assert count(str(folder / "list.csv")) == 2
    assert count("-") is None
    assert count("/nowhere") is None


class Files:
    """An image door that reads files and measures as above."""

    def read(self, image):
        return read(image)

    def inspect(self, name, data):
        return measure(name, data)


@pytest.fixture
def windmill_ingest(monkeypatch, capsys):
    """The command, over a registry in memory; gives its status, what it says, and its errors."""

    def run(*words, registry=None):
        monkeypatch.setattr(command.wiring, "images", lambda _: Files())
        monkeypatch.setattr(command.wiring, "image_registry", lambda _: nullcontext(registry or Registry()))
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        status = command.run(parser.parse_args([str(word) for word in words]), Settings())
        return (status, *capsys.readouterr())

    return run


def test_the_command_says_what_it_did(windmill_ingest, folder):
    status, out, err = windmill_ingest(folder)
    assert status == 1
    assert out == "added 2 images; 1 duplicates, 1 bad, 1 other files\n"
    assert err.splitlines()[0] == f"bad: {folder}/broken.jpg: not an image"
    assert f"duplicate: {folder}/deep/again.png is image 1" in err


def test_the_command_s_status_says_whether_all_is_there(windmill_ingest, folder):
    (folder / "broken.jpg").unlink()
    registry = Registry()
    assert windmill_ingest(folder, registry=registry)[0] == 0
    assert windmill_ingest(folder, registry=registry)[0] == 0
    (folder / "empty").mkdir()
    assert windmill_ingest(folder / "empty")[:2] == (1, f"{folder}/empty: there is nothing in it\n")


def test_the_command_s_json_names_everything(windmill_ingest, folder):
    _, out, _ = windmill_ingest(folder, "--json")
    assert json.loads(out) == {
        "added": 2,
        "duplicates": [{"name": f"{folder}/deep/again.png", "image_id": 1}],
        "bad": [f"{folder}/broken.jpg: not an image"],
        "ignored": 1,
    }


def test_a_list_on_standard_input_may_hold_any_bytes(windmill_ingest, folder, monkeypatch):
    lines = f"{folder}/a.jpg\n".encode() + b"/caf\xe9.jpg\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="ascii"))
    status, out, err = windmill_ingest("-")
    assert (status, out) == (1, "added 1 images; 0 duplicates, 1 bad, 0 other files\n")
    assert "not UTF-8" in err


def test_a_run_that_is_cut_short_says_how_far_it_came(windmill_ingest, folder, capsys):
    class Away(Registry):
        def add(self, images):
            raise StoreUnavailable("the database is away")

    with pytest.raises(StoreUnavailable):
        windmill_ingest(folder, registry=Away())
    assert "cut short; so far 0 images" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_collection():
    ahead = []

    def endless():
        for n in range(5000):
            ahead.append(n)
            yield from candidates("-", "g", io.StringIO(f"/photos/{n}.jpg"))

    meter = Limit(ahead)
    done = ingest(endless(), Registry(), read=lambda one: one.path.encode(), measure=measure, meter=meter)
    assert done.added == 5000


class Limit:
    """A meter that checks how far reading is ahead of what is done."""

    def __init__(self, ahead):
        self.ahead = ahead

    def update(self, done, total=None):
        assert len(self.ahead) - done <= 64


def test_an_account_in_an_address_appears_in_no_name_and_no_line():
    lines = "https://me:secret@example.org/cat.jpg\nhttps://me:secret@example.org\n"
    found = list(candidates("-", "demo", io.StringIO(lines)))
    assert [(one.filename, one.name) for one in found] == [
        ("cat.jpg", "https://example.org/cat.jpg"),
        ("example.org", "https://example.org"),
    ]
    assert all("secret" in one.url for one in found)  # which is what is fetched
    done = ingest(found * 2, Registry(), read=lambda _: b"a", measure=measure, meter=Silence())
    assert len(done.duplicates) == 3
    assert "secret" not in str(done.duplicates)


def test_ingest_reads_below_image_roots_only(folder):
    files = ImageFiles(Settings(image_roots=(folder / "deep",)))
    done = ingest(
        candidates(str(folder), "demo", io.StringIO()),
        Registry(),
        read=lambda one: command.read(files, one),
        measure=measure,
        meter=Silence(),
    )
    assert done.added == 2
    assert sum("IMAGE_ROOTS" in line for line in done.bad) == done.bad_count > 0
