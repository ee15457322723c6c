"""The model of queries, asked over HTTP: the embedding service of the catalog."""

from __future__ import annotations

from typing import Any

import numpy as np

from windmill.catalog import Service
from windmill.core import replies, strict_json
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
        vector = np.array(replies.parse_embedding(self._service, body), np.float32)
        same(self.embedder, _embedder(self._service, strict_json.loads(body), len(vector)))
        return vector


def _embedder(service: Service, reply: dict[str, Any], dimension: int) -> Embedder:
    """Who made a reply's vector, by its `metadata.model_info`."""
    metadata = reply.get("metadata")
    info = metadata.get("model_info") if isinstance(metadata, dict) else None
    said = info if isinstance(info, dict) else {}
    return Embedder(
        service=service.name,
        name=str(said.get("name") or said.get("framework") or ""),
        version=str(said.get("version", "")),
        dimension=dimension,
    )
