"""How well a caption fits its photo: the cosine between CLIP's vectors of both (CLIPScore's, Hessel et al.
2021, arXiv:2104.08718, without its scaling)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windmill.services import clip_model
from windmill.services.base import SCORE, Captioned, Model, Reply, Task
from windmill.services.clip_model import Clip
from windmill.services.weights import Weights

Pair = tuple[Any, str]  # the photo's tensor and the caption


def load(weights: Weights) -> Model:
    """The same weights as `clip`; a process that serves both has them in memory once."""
    return Model(info=clip_model.info(weights), tasks={SCORE: Score(clip_model.shared(weights))})


class Score(Task[Captioned, Pair, float]):
    """See `load`."""

    batch = 16

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def preprocess(self, asked: Captioned) -> Pair:
        return self._clip.pixels(asked.photo), asked.caption

    def predict(self, inputs: Sequence[Pair]) -> Sequence[float]:
        tensors, captions = zip(*inputs, strict=True)
        cosines = (self._clip.images(tensors) * self._clip.texts(captions)).sum(axis=1)
        return [float(cosine) for cosine in cosines]

    def postprocess(self, given: Pair, output: float) -> Reply:  # noqa: ARG002 -- of a task
        return {"similarity_score": round(min(1.0, max(-1.0, output)), 4)}
