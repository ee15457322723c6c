"""An embedding service whose vectors follow from a file's bytes alone, so that every run makes the same."""

import hashlib
import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image

from tests.serving import serving
from windmill.services.app import ServiceApp
from windmill.services.base import EMBED_IMAGE, Info, Model, NothingToEmbed, Photo, Task
from windmill.services.embedding import embedded
from windmill.services.host import Limits

DIMENSION = 8
NAME = "label_embedding"  # whose place it takes


def vector(data: bytes, version: str = "1"):
    """Of an image file, as model `version` sees it."""
    seed = int.from_bytes(hashlib.sha256(version.encode() + data).digest()[:8], "big")
    found = np.random.default_rng(seed).standard_normal(DIMENSION)
    return (found / np.linalg.norm(found)).astype(np.float32)


class Embedder(Task):
    """Counts what it has seen; `empty` are files in which there is nothing to embed."""

    batch = 4

    def __init__(self, version="1"):
        self.version = version
        self.seen = []
        self.empty = set()
        self._changed = threading.Condition()

    def preprocess(self, asked):
        return asked.data

    def predict(self, inputs):
        with self._changed:
            self.seen += inputs
            self._changed.notify_all()
        return [vector(data, self.version) for data in inputs]

    def postprocess(self, given, output):
        if given in self.empty:
            raise NothingToEmbed("nothing")
        return embedded(output)

    def await_seen(self, count, timeout=60):
        """Until it has seen so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout)


@contextmanager
def embedding(task):
    """The port of the service."""
    info = Info(framework="test", name="hash", version=task.version)
    model = Model(info=info, tasks={EMBED_IMAGE: task}, dimension=DIMENSION)
    app = ServiceApp(NAME, lambda: model, asks={EMBED_IMAGE: Photo}, limits=Limits())
    app.host.load()
    task.seen.clear()  # a grey photo, to warm up
    with serving(app) as port:
        yield port


def photos(folder, count):
    """So many small photos, each of its own colour; path → bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        Image.new("RGB", (16, 16), (n % 256, n // 256, 99)).save(folder / f"{n:04}.png")
    return {str(path): path.read_bytes() for path in sorted(folder.glob("*.png"))}
