"""What CLIP says of a whole photo, by zero-shot classification (the labels whose text is nearest to it), and
its embeddings of photos and texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from windmill import vocabularies
from windmill.services import clip_model, emoji
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT, Model, Photo, Reply, Task
from windmill.services.clip_model import Clip, Floats
from windmill.services.embedding import EmbedText, embedded
from windmill.services.weights import Weights

_PROMPT = "a photo of a {}"
_LEAST, _MOST = 0.05, 10  # a label's probability, and labels in a reply


def load(weights: Weights) -> Model:
    """Labels of whole images, and embeddings of images and texts, all of length 1."""
    clip = clip_model.shared(weights)
    return Model(
        info=clip_model.info(weights),
        tasks={ANALYZE: Labels(clip), EMBED_IMAGE: EmbedImage(clip), EMBED_TEXT: EmbedText(clip)},
        dimension=clip.dimension,
    )


@cache
def labels() -> tuple[str, ...]:
    """What a photo as a whole may be of: COCO's objects, and `scenes.tsv` (places, occasions, things)."""
    scenes = files("windmill.services").joinpath("scenes.tsv").read_text("utf-8").splitlines()
    return *vocabularies.names("coco"), *scenes


class EmbedImage(Task[Photo, Any, Floats]):
    """The photo's vector."""

    batch = 16

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def preprocess(self, asked: Photo) -> Any:
        return self._clip.pixels(asked)

    def predict(self, inputs: Sequence[Any]) -> Sequence[Floats]:
        return list(self._clip.images(inputs))

    def postprocess(self, given: Any, output: Floats) -> Reply:  # noqa: ARG002 -- of a task
        return embedded(output)


class Labels(EmbedImage):
    """What the photo is of, among `labels`; their vectors are made when it loads."""

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        prompts = [_PROMPT.format(label) for label in labels()]
        parts = [
            clip.texts(prompts[n : n + EmbedText.batch]) for n in range(0, len(prompts), EmbedText.batch)
        ]
        self._texts = np.concatenate(parts)

    def postprocess(self, given: Any, output: Floats) -> Reply:  # noqa: ARG002 -- of a task
        chances = softmax(self._clip.scale * (self._texts @ output))
        best = np.argsort(-chances, kind="stable")[:_MOST]
        found = [_label(n, float(chances[n])) for n in best if chances[n] >= _LEAST]
        return {"predictions": [], "full_image": found}


def softmax(logits: Floats) -> Floats:
    """Probabilities; the largest logit is taken off first, as its exponential may be beyond a float."""
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum(), np.float32)


def _label(number: int, chance: float) -> Reply:
    label = labels()[number]
    return {"label": label, "confidence": round(chance, 4), "emoji": emoji.of(label)}
