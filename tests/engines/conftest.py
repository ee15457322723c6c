"""A small collection, its vectors as the model gives them here, and an index to build."""

import shutil

import pytest

from tests.engines.runs import Collection, direct


@pytest.fixture(scope="session")
def collection(tmp_path_factory, shared_data):
    """A dozen photos, two copies, hostile files, a text; names that an address would have to escape."""
    folder = tmp_path_factory.mktemp("collection")
    deep = folder / "a b%41 [1]" / "dé"
    deep.mkdir(parents=True)
    photos = sorted((shared_data / "coco-photos").glob("*.jpg"))[:12]
    for n, photo in enumerate(photos):
        shutil.copy(photo, (deep if n % 2 else folder) / f"photo {n}#?.jpg")
    shutil.copy(photos[0], deep / "copy.jpg")
    shutil.copy(photos[1], folder / "copy of another.jpg")
    bad = [path for path in sorted((shared_data / "hostile").iterdir()) if path.suffix in (".png", ".j2k")]
    for path in bad:
        shutil.copy(path, deep)
    (folder / "notes.txt").write_text("no photo, and no error")
    return Collection(
        folder=folder, vectors=direct(photos), bad=tuple(str(deep / path.name) for path in bad), copies=2
    )
