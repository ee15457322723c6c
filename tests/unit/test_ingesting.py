"""Ingest: what is admitted, what is a duplicate, what is bad, and that nothing stops the rest."""

import io

import pytest

from windmill.errors import ConfigError, ImageError
from windmill.ingesting import candidates, ingest


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
    with open(one.path, "rb") as file:  # noqa: PTH123 -- a path as text
        return file.read()


def measure(name, data):
    if b"bad" in data:
        raise ImageError(f"{name}: not an image")
    return 4, 3


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


def test_memory_does_not_grow_with_the_collection(monkeypatch):
    ahead = []

    def endless():
        for n in range(5000):
            ahead.append(n)
            yield f"/photos/{n}.jpg"

    taken = []

    def slow(one):
        taken.append(one)
        return one.path.encode()

    found = (one for place in endless() for one in candidates("-", "g", io.StringIO(place)))
    done = ingest(found, Registry(), read=slow, measure=measure, meter=Limit(ahead, taken))
    assert done.added == 5000


class Limit:
    """A meter that checks how far reading is ahead of storing."""

    def __init__(self, ahead, taken):
        self.ahead = ahead
        self.taken = taken

    def update(self, done, total=None):
        assert len(self.ahead) - done <= 64
