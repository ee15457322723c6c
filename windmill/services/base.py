"""What a model is: one file that loads, prepares what it is asked, predicts on a batch, and tells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from windmill.errors import Verdict, WindmillError
from windmill.services.weights import Weights

Prediction = dict[str, Any]  # one entry of `predictions`, as docs/service-api.md says
Reply = dict[str, Any]  # what a reply holds beside `service`, `status` and `metadata`
Pixels = npt.NDArray[np.uint8]

Asked = TypeVar("Asked")
Input = TypeVar("Input")
Output = TypeVar("Output")

ANALYZE, EMBED_IMAGE, EMBED_TEXT, SCORE = "/v3/analyze", "/embed/image", "/embed/text", "/score"


class RequestError(WindmillError):
    """What was asked cannot be answered, whoever asks: 400."""

    verdict = Verdict.BURY


class NothingToEmbed(RequestError):
    """A photo without what the model makes vectors of: a result, and answered with `"embedding": null`."""


class UpstreamError(WindmillError):
    """What this service itself depends on does not answer for now: 503."""

    verdict = Verdict.PARK


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """An image as services see it: the file's bytes, and its upright pixels (height × width × RGB)."""

    data: bytes
    pixels: Pixels

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """A photo, and what somebody says of it."""

    photo: Photo
    caption: str


class Task(ABC, Generic[Asked, Input, Output]):
    """One thing that a model can be asked, about a `Photo`, a text (`str`) or a `Captioned` photo.

    What an `Input` holds waits in a queue: the model's own format, not the photo's many pixels.
    """

    batch: int = 1  # inputs that one call of `predict` gains by
    limited: bool = False  # whether it takes no more, however much memory there is

    @abstractmethod
    def preprocess(self, asked: Asked) -> Input:
        """The model's input; called by several threads at once. Raises `RequestError`."""

    @abstractmethod
    def predict(self, inputs: Sequence[Input]) -> Sequence[Output]:
        """An output for each of up to `batch` inputs (more unless it is `limited`); called by one thread, the
        model's own."""

    @abstractmethod
    def postprocess(self, given: Input, output: Output) -> Reply:
        """What the reply says; called by several threads at once."""

    def alone(self, asked: Asked) -> Reply:
        """The reply to one question, here and now: a batch of one."""
        given = self.preprocess(asked)
        (output,) = self.predict([given])
        return self.postprocess(given, output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What looked: a reply's `metadata.model_info`, by which the pipeline tells one version from another."""

    framework: str
    name: str
    version: str
    sha256: str = ""
    licence: str = ""

    @classmethod
    def of(cls, weights: Weights, framework: str, name: str) -> Info:
        """What `name`, run by `framework`, is with these weights."""
        return cls(
            framework=framework,
            name=name,
            version=weights.version,
            sha256=weights.sha256,
            licence=weights.licence,
        )

    def shown(self) -> dict[str, str]:
        fields = {name: getattr(self, name) for name in ("framework", "name", "version", "sha256", "licence")}
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model: what it is, and what it can be asked, by path.

    `check` is a cheap proof that it works, for a model that others run: /health asks it; it raises.
    `dimension`: how many numbers its embeddings have, if it makes any.
    """

    info: Info
    tasks: Mapping[str, Task[Any, Any, Any]]
    dimension: int = 0
    check: Callable[[], None] | None = None


def analyzer(info: Info, task: Task[Photo, Any, Any]) -> Model:
    """A model that only looks at photos."""
    return Model(info=info, tasks={ANALYZE: task})
