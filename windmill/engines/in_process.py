"""An embedding service's model in this process, without HTTP: the same code, the same vectors."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from windmill.errors import ConfigError, ServiceRejected
from windmill.index.vectors import Embedder, Floats
from windmill.plain import line
from windmill.services import door, registry
from windmill.services.base import EMBED_IMAGE, EMBED_TEXT, RequestError

log = logging.getLogger(__name__)


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
        return [self._vector(*both) for both in zip(inputs, self._images.predict(inputs), strict=True)]

    def each(self, inputs: Sequence[Any]) -> list[Floats | RequestError | ServiceRejected]:
        """As `vectors`, with the error in the place of what cannot be embedded: one takes no other with it.

        `ServiceRejected`: the model broke on this one alone. Raises it where it breaks on each of several,
        and on a plain picture, too: then it is the model that is broken.
        """
        try:
            outputs = self._images.predict(inputs)
        except Exception as exc:  # noqa: BLE001 -- whatever a model raises belongs to what it looked at
            return self._one_by_one(inputs, exc)
        return [self._outcome(*both) for both in zip(inputs, outputs, strict=True)]

    def _one_by_one(
        self, inputs: Sequence[Any], error: Exception
    ) -> list[Floats | RequestError | ServiceRejected]:
        if len(inputs) == 1:
            told = f"{self.embedder.service} broke on it: {type(error).__name__}: {error}"
            return [ServiceRejected(told, service=self.embedder.service)]
        log.warning("a batch of %d failed, and is tried one by one: %s", len(inputs), line(str(error)))
        outcomes = [outcome for given in inputs for outcome in self.each([given])]
        rejected = [one for one in outcomes if isinstance(one, ServiceRejected)]
        if len(rejected) == len(inputs) and self._broken():
            raise rejected[0] from error
        return outcomes

    def _broken(self) -> bool:
        """Whether it breaks on a picture that is no cause to."""
        (outcome,) = self.each([self.prepared("a plain picture", _plain())])
        return isinstance(outcome, ServiceRejected)

    def _outcome(self, given: Any, output: Any) -> Floats | RequestError:
        try:
            return self._vector(given, output)
        except RequestError as error:
            return error

    def _vector(self, given: Any, output: Any) -> Floats:
        return np.array(self._images.postprocess(given, output)["embedding"], np.float32)

    def image(self, name: str, data: bytes) -> Floats:
        (vector,) = self.vectors([self.prepared(name, data)])
        return vector

    def text(self, words: str) -> Floats:
        if EMBED_TEXT not in self._tasks:
            raise ConfigError(f"{self.embedder.service} reads no words: search by image")
        return np.array(self._tasks[EMBED_TEXT].alone(words)["embedding"], np.float32)


def _plain() -> bytes:
    """A file that any model can be shown."""
    file = io.BytesIO()
    Image.new("RGB", (224, 224), "gray").save(file, "PNG")
    return file.getvalue()
