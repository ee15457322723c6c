"""The model of queries, asked over HTTP: the embedding service of the catalog."""

from __future__ import annotations

import numpy as np

from windmill.catalog import Service
from windmill.core import replies
from windmill.errors import ConfigError, ServiceRejected
from windmill.index.searching import same
from windmill.index.vectors import Embedder, Floats
from windmill.service_http import HttpService


class ServiceEmbedder:
    """A `searching.QueryEmbedder`: a service that must be the model `embedder`, which each reply is held to.

    `timeout` in seconds; a reply has at most `most` bytes.
    """

    def __init__(self, service: Service, embedder: Embedder, *, timeout: float, most: int) -> None:
        self.embedder = embedder
        self._service = service
        self._http = HttpService(service, timeout=timeout, most=most)

    def healthy(self) -> bool:
        """Whether it is there, and well."""
        return self._http.healthy()

    def text(self, words: str) -> Floats:
        """See `searching.QueryEmbedder`. Raises a `ServiceError`, and `OtherEmbedder`."""
        try:
            return self._vector(self._http.embed_text(words))
        except ServiceRejected as exc:
            if exc.status in (404, 405):
                raise ConfigError(f"{self.embedder.service} reads no words: search by image") from exc
            raise

    def image(self, name: str, data: bytes) -> Floats:  # noqa: ARG002 -- of the protocol
        """See `searching.QueryEmbedder`. Raises a `ServiceError`, and `OtherEmbedder`."""
        return self._vector(self._http.embed_image(data))

    def _vector(self, body: bytes) -> Floats:
        told = replies.parse_embedded(self._service, body)
        if not told.vector:
            name = self._service.name
            raise ServiceRejected(f"{name}: there is nothing in this image that it embeds", service=name)
        answered = Embedder(
            service=self._service.name,
            name=told.model_name,
            version=told.model_version,
            dimension=len(told.vector),
        )
        same(self.embedder, answered)
        return np.array(told.vector, np.float32)
