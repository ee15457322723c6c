"""The service under test: a reference service in this process, or whatever answers at an address."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol, TypeVar

from windmill import catalog
from windmill.catalog import Service
from windmill.core import replies
from windmill.errors import BadReply
from windmill.model import ServiceReply
from windmill.service_http import HttpService
from windmill.services import door, registry
from windmill.services.base import ANALYZE, SCORE, Captioned

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as the pipeline reads it, and its predictions as they came."""

    reply: ServiceReply
    predictions: list[dict[str, Any]]


class Asked(Protocol):
    """A service that looks at pictures' bytes. Raises `WindmillError`."""

    @property
    def service(self) -> Service: ...

    def analyze(self, picture: bytes) -> Answer: ...

    def score(self, picture: bytes, caption: str) -> float: ...


@dataclass(slots=True)
class Timed:
    """Another service, and the seconds that each call took."""

    asked: Asked
    seconds: list[float] = field(default_factory=list)

    @property
    def service(self) -> Service:
        return self.asked.service

    @property
    def milliseconds(self) -> float:
        """Of the middle call, with decoding; 0 if there was none."""
        return 1000 * median(self.seconds) if self.seconds else 0.0

    def analyze(self, picture: bytes) -> Answer:
        return self._timed(lambda: self.asked.analyze(picture))

    def score(self, picture: bytes, caption: str) -> float:
        return self._timed(lambda: self.asked.score(picture, caption))

    def _timed(self, call: Callable[[], Value]) -> Value:
        started = time.perf_counter()
        value = call()
        self.seconds.append(time.perf_counter() - started)
        return value


class Local:
    """A reference service, without HTTP. Raises `ConfigError` when it cannot be loaded."""

    def __init__(self, name: str) -> None:
        self.service = catalog.facts(name)
        self._tasks = registry.load(name).tasks

    def analyze(self, picture: bytes) -> Answer:
        return _answer(self.service, self._tasks[ANALYZE].alone(door.photo("picture", picture)))

    def score(self, picture: bytes, caption: str) -> float:
        asked = Captioned(photo=door.photo("picture", picture), caption=caption)
        return float(self._tasks[SCORE].alone(asked)["similarity_score"])


class Remote:
    """A service at an address."""

    def __init__(self, service: Service, timeout: float, most: int) -> None:
        self.service = service
        self._http = HttpService(service, timeout=timeout, most=most)

    def analyze(self, picture: bytes) -> Answer:
        body = self._http.analyze(picture)
        replies.parse(self.service, body)  # whatever is off the contract is told as workers tell it
        return _answer(self.service, json.loads(body))

    def score(self, picture: bytes, caption: str) -> float:
        return replies.parse_score(self.service, self._http.score(picture, caption))


def _answer(service: Service, data: dict[str, Any]) -> Answer:
    try:
        return Answer(replies.read(service, data), data["predictions"])
    except ValueError as exc:
        raise BadReply(f"{service.name}: {exc}", service=service.name, body="") from exc
