"""An index in memory, and a model of queries that knows a few words: for tests of search."""

import numpy as np

from windmill.errors import ConfigError
from windmill.index.memory import MemoryStore
from windmill.index.vectors import Embedder, Vectors
from windmill.model import Numbering

EMBEDDER = Embedder(service="made", name="of words", version="1", dimension=4)
WORDS = {"cat": (1, 0, 0, 0), "dog": (0, 1, 0, 0), "pets": (0.6, 0.8, 0, 0), "submarine": (0, 0, 0, 1)}


class Model:
    """A `searching.QueryEmbedder`; an image's vector is that of the word which its file holds."""

    def __init__(self, embedder=EMBEDDER):
        self.embedder = embedder
        self.texts = []

    def text(self, words):
        self.texts.append(words)
        if words not in WORDS:
            raise ConfigError(f"no such word: {words}")
        return np.array(WORDS[words], np.float32)

    def image(self, name, data):
        return np.array(WORDS[data.decode()], np.float32)


def store(paths=("cat.jpg", "dog.jpg", "both.png"), numbering=Numbering.CONTENT, embedder=EMBEDDER):
    """Images 1, 2, …: a cat, a dog, and both."""
    made = MemoryStore(embedder, numbering)
    embeddings = np.array([WORDS["cat"], WORDS["dog"], (0.8, 0.6, 0, 0)], np.float32)[: len(paths)]
    made.upsert(Vectors(ids=np.arange(1, len(paths) + 1), paths=[*map(str, paths)], embeddings=embeddings))
    return made
