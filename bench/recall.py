"""How often a caption finds its photo: recall at 1, 5 and 10 of search by meaning without CLIP.

    python -m bench.recall [FOLDER]    a folder with photos.json (captions) and the photos

Each caption is a query for its own photo; all photos are ranked by cosine. A photo counts as found when fewer
than n other ones are as near or nearer.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from windmill.services import door, registry
from windmill.services.base import EMBED_IMAGE, EMBED_TEXT, Model

FOLDER = Path("../shared/data/coco-photos")
_BATCH = 32


def main(words: Sequence[str]) -> None:
    folder = Path(words[0]) if words else FOLDER
    told = json.loads((folder / "photos.json").read_text("utf-8"))
    model = registry.load("label_embedding")
    started = perf_counter()
    photos = np.array([_photo(model, folder / one["file_name"]) for one in told])
    each = (perf_counter() - started) / len(photos)
    owners = [number for number, one in enumerate(told) for _ in one["captions"]]
    captions = [caption for one in told for caption in one["captions"]]
    ranks = _ranks(_texts(model, captions), photos, np.array(owners))
    shown = ", ".join(f"recall@{n} {np.mean(ranks < n):.3f}" for n in (1, 5, 10))
    print(f"{len(captions)} captions, {len(photos)} photos: {shown}; chance {1 / len(photos):.3f} at 1")
    print(f"a photo takes {1000 * each:.0f} ms, its decoding included")


def _photo(model: Model, path: Path) -> list[float]:
    reply = model.tasks[EMBED_IMAGE].alone(door.photo(path.name, path.read_bytes()))
    vector: list[float] = reply["embedding"]
    return vector


def _texts(model: Model, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    task = model.tasks[EMBED_TEXT]
    parts = [task.predict(texts[n : n + _BATCH]) for n in range(0, len(texts), _BATCH)]
    return np.concatenate([np.array(part) for part in parts])


def _ranks(queries: npt.NDArray, photos: npt.NDArray, owners: npt.NDArray) -> npt.NDArray[np.int64]:
    """How many other photos are as near to a query as its own, or nearer."""
    cosines = queries @ photos.T
    own = cosines[np.arange(len(owners)), owners]
    return (cosines >= own[:, None] - 1e-7).sum(axis=1) - 1


if __name__ == "__main__":
    main(sys.argv[1:])
