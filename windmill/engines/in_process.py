"""An embedding service's model in this process, without HTTP: the same code, the same vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from windmill.errors import ConfigError
from windmill.index.vectors import Embedder, Floats
from windmill.services import door, registry
from windmill.services.base import EMBED_IMAGE, EMBED_TEXT


class InProcess:
    """A `searching.QueryEmbedder`, and what engines embed photos with.

    Raises `ConfigError`: no such service, one that embeds nothing, or weights that are not there.
    """

    def __init__(self, service: str) -> None:
        model = registry.load(service)
        if EMBED_IMAGE not in model.tasks:
            raise ConfigError(f"{service}: makes no embeddings; {', '.join(registry.embedders())} do")
        self._tasks = model.tasks
        self._images = model.tasks[EMBED_IMAGE]
        self.embedder = Embedder(
            service=service, name=model.info.name, version=model.info.version, dimension=model.dimension
        )

    @property
    def batch(self) -> int:
        """How many photos the model gains by being shown at once."""
        return self._images.batch

    def prepared(self, name: str, data: bytes) -> Any:
        """What the model looks at instead of an image file. Raises `ImageError`. Thread-safe."""
        return self._images.preprocess(door.photo(name, data))

    def vectors(self, inputs: Sequence[Any]) -> list[Floats]:
        """The vector of each of what `prepared` gave; by one thread, as many as fit into memory at once.

        Raises `RequestError` where one of them cannot be embedded (a photo without a face).
        """
        outputs = self._images.predict(inputs)
        replies = (self._images.postprocess(*both) for both in zip(inputs, outputs, strict=True))
        return [np.array(reply["embedding"], np.float32) for reply in replies]

    def image(self, name: str, data: bytes) -> Floats:
        (vector,) = self.vectors([self.prepared(name, data)])
        return vector

    def text(self, words: str) -> Floats:
        if EMBED_TEXT not in self._tasks:
            raise ConfigError(f"{self.embedder.service} reads no words: search by image")
        return np.array(self._tasks[EMBED_TEXT].alone(words)["embedding"], np.float32)
