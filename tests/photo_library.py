"""A library of photos for the web app, made in a moment: its vectors say which objects a photo shows."""

import json

import numpy as np
from PIL import Image as Pictures

from windmill.findings import Findings, FoundBox
from windmill.images import ImageFiles
from windmill.index.memory import MemoryStore
from windmill.index.searching import Searcher
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Box
from windmill.settings import Settings
from windmill.vocabularies import emoji_of
from windmill.web.library import Library

CUTOFF = 0.2
_TONES = {"#2f5b7c": "Indigo Blue", "#e3b130": "Goldenrod", "#3a3a38": "Black"}


class Photos:
    """The first photos of `shared/data/coco-photos`: ids from `first` on, and what is in them."""

    def __init__(self, folder, count, first=1):
        listed = json.loads((folder / "photos.json").read_text("utf-8"))[:count]
        self.photos = dict(enumerate(listed, first))
        self.paths = {n: folder / photo["file_name"] for n, photo in self.photos.items()}
        self.labels = sorted({one["label"] for photo in self.photos.values() for one in photo["objects"]})
        self.embedder = Embedder(
            service="doubles", name="objects", version="1", dimension=len(self.labels) + 1
        )

    def store(self):
        store = MemoryStore(self.embedder)
        store.upsert(
            Vectors(
                ids=np.array(list(self.photos), np.int64),
                paths=[str(path) for path in self.paths.values()],
                embeddings=np.array([self.vector(photo["objects"]) for photo in self.photos.values()]),
            )
        )
        return store

    def vector(self, objects):
        """How much of each label; the last number is what nobody knows."""
        shares = np.zeros(self.embedder.dimension, np.float32)
        for one in objects:
            shares[self.labels.index(one["label"])] += 1
        shares[-1] = 0 if objects else 1
        return np.sqrt(shares) / np.linalg.norm(np.sqrt(shares))

    # --- a searching.QueryEmbedder ---

    def text(self, words):
        return self.vector([{"label": label} for label in self.labels if label in words])

    def image(self, name, data):
        known = {path.read_bytes(): n for n, path in self.paths.items()}
        return self.vector(self.photos[known[data]]["objects"] if data in known else [])

    # --- a library.Known ---

    def matching(self, where, numbering):
        """Those with the object, whatever else is asked."""
        return np.array([n for n, one in self.of(self.photos, numbering).items() if _votes(one, where.value)])

    def of(self, ids, numbering):
        return {int(n): self._findings(int(n)) for n in ids}

    def _findings(self, number):
        photo, path = self.photos[number], self.paths[number]
        with Pictures.open(path) as picture:
            width, height = picture.size
        labels = list(dict.fromkeys(one["label"] for one in photo["objects"]))
        return Findings(
            image_id=number,
            filename=path.name,
            path=str(path),
            width=width,
            height=height,
            votes=tuple(
                (emoji_of(label, "coco"), label, 2 + (number + n) % 4) for n, label in enumerate(labels)
            ),
            boxes=tuple(
                FoundBox(
                    label=one["label"],
                    box=Box(**dict(zip(("x", "y", "width", "height"), one["bbox"], strict=True))),
                    detection_count=1 + (number + n) % 3,
                    score=0.95 - 0.07 * n % 0.6,
                )
                for n, one in enumerate(photo["objects"])
            ),
            colours=tuple(_TONES.items()),
            text="STOP" if number % 5 == 0 else "",
            group="streets" if number % 2 else "parks",
            captions=(("blip", photo["captions"][0]),),
        )


def library(photos, *, database=True):
    known = photos if database else None
    searcher = Searcher(store=photos.store(), asked=lambda: photos, cutoff=lambda *_: CUTOFF, facts=known)
    return Library(searcher, ImageFiles(Settings()), known)


def _votes(findings, word):
    return any(word in (emoji, label) for emoji, label, _ in findings.votes)
