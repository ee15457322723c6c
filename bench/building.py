"""Images per second of building an index on this box, beside the same model in a bare loop over batches."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from PIL import Image, ImageOps

from bench.rounds import Figures, Part
from bench.usage import family
from windmill.engines.building import Plan
from windmill.engines.in_process import InProcess
from windmill.engines.local import Local
from windmill.index.files import create, merge
from windmill.model import Numbering
from windmill.progress import Lines
from windmill.services import onnx_session, registry
from windmill.services.base import EMBED_IMAGE, Model, Photo

PHOTOS = Path(__file__).parents[1].parent / "shared" / "data" / "coco-photos"
SPEED = "images/s"
WINDMILL, LOOP = "Windmill", "bare loop"


def parts(service: str, folder: Path, images: int, source: Path = PHOTOS) -> Mapping[str, Part]:
    """Both with a loaded model: what that takes is the same for both, and more than a small collection.

    Raises `SystemExit` where the photos are not there.
    """
    cv2.setNumThreads(onnx_session.THREADS)
    collection = copies(source, folder / "photos", images)
    return {
        f"{service}: {WINDMILL}": partial(windmill, InProcess(service), collection, folder),
        f"{service}: {LOOP}": partial(loop, registry.load(service), collection),
    }


def copies(source: Path, folder: Path, images: int) -> Path:
    """A folder of so many photos, each another file: those of `source` again and again, with some bytes after
    their end."""
    photos = [path.read_bytes() for path in sorted(source.glob("*.jpg"))]
    if not photos:
        raise SystemExit(f"{source}: no photos are there; --only merge,query needs none")
    folder.mkdir()
    for number, data in zip(range(images), itertools.cycle(photos), strict=False):
        (folder / f"{number:06}.jpg").write_bytes(data + number.to_bytes(4, "big"))
    return folder


def windmill(model: InProcess, collection: Path, folder: Path) -> Figures:
    """The engine `local`, its index and the merge of it; all anew."""
    with TemporaryDirectory(dir=folder) as scratch:
        prefix = Path(scratch) / "index"
        engine = Local(
            model=model, read=lambda one: Path(one.name).read_bytes(), notes=Path(scratch) / "notes"
        )
        plan = Plan(source=str(collection), service=model.embedder.service, batch=model.batch)
        began = time.perf_counter(), family(os.getpid()).seconds
        store = create(prefix, model.embedder, Numbering.CONTENT)
        added = engine(plan, store, Lines("index", "images", None)).added
        merge(prefix, Lines("merge", "images", None))
        return _figures(added, *began)


def loop(model: Model, collection: Path) -> Figures:
    """What one would write in an afternoon: Pillow opens photos, the model looks at a batch of them, and the
    vectors are saved."""
    task = model.tasks[EMBED_IMAGE]
    began = time.perf_counter(), family(os.getpid()).seconds
    paths, vectors = sorted(collection.iterdir()), []
    for start in range(0, len(paths), task.batch):
        given = [task.preprocess(_photo(path)) for path in paths[start : start + task.batch]]
        outputs = zip(given, task.predict(given), strict=True)
        vectors += [task.postprocess(*both)["embedding"] for both in outputs]
    with TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "vectors.npy", np.array(vectors, np.float32))
    return _figures(len(vectors), *began)


def _photo(path: Path) -> Photo:
    data = path.read_bytes()
    with Image.open(path) as picture:
        return Photo(data=data, pixels=np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))


def _figures(images: int, began: float, by_cpu: float) -> Figures:
    """CPU time with that of decoders, which are processes of their own."""
    seconds, cpu = time.perf_counter() - began, family(os.getpid()).seconds - by_cpu
    return {SPEED: images / seconds, "ms of CPU": 1e3 * cpu / images}
