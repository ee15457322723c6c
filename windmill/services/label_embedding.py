"""Search by meaning without CLIP: a photo lies where its labels lie in a space of texts.

ConSE (Norouzi et al. 2014, arXiv:1312.5650): the mean of MiniLM's embeddings of the labels that a classifier
and a detector see, weighted by how sure they are. It finds what ImageNet's and COCO's names can tell, and
does not see itself: two photos with the same labels are the same to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from windmill import vocabularies
from windmill.core.nearest import mean
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT, Info, Model, Photo, Reply, Task
from windmill.services.classifier import Classifier
from windmill.services.embedding import EmbedText, Floats, TextEncoder, embedded
from windmill.services.minilm import MiniLM
from windmill.services.ssdlite import SSDLite
from windmill.services.weights import Weights

_CLASSES = 10  # of the classifier's; the paper's T
_TOLD = 0.05  # what is less sure is in the mean and not in the reply

Labels = Mapping[str, float]  # how sure somebody is of each


def load(text: Weights, classifier: Weights, detector: Weights) -> Model:
    """Embeddings of photos and of texts in one space of 384 dimensions."""
    minilm = MiniLM(text)
    space, seen = _Space(minilm), _Seen(Classifier(classifier), SSDLite(detector))
    return Model(
        info=_info(text, classifier, detector),
        tasks={
            ANALYZE: LabelEmbedding(seen, space),
            EMBED_IMAGE: EmbedPhoto(seen, space),
            EMBED_TEXT: EmbedText(minilm),
        },
        dimension=minilm.DIMENSION,
    )


def _info(*parts: Weights) -> Info:
    return Info(
        framework="ONNX Runtime",
        name="ConSE: MiniLM over the labels of EfficientNet-Lite1 and SSDLite",
        version=" + ".join(part.version for part in parts),
        sha256=hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest(),
        licence="; ".join(part.licence for part in parts),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The two that look."""

    classifier: Classifier
    detector: SSDLite


class _Space:
    """Where labels lie; each is embedded once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._known: dict[str, Floats] = {}

    def middle(self, labels: Labels) -> Floats:
        """The mean of the labels by how sure somebody is of them, of length 1."""
        if new := [label for label in labels if label not in self._known]:
            self._known.update(zip(new, self._encoder.texts(new), strict=True))
        return mean([self._known[label] for label in labels], list(labels.values()))


class EmbedPhoto(Task[Photo, Any, tuple[Any, Any]]):
    """The photo's vector."""

    batch = Classifier.batch

    def __init__(self, seen: _Seen, space: _Space) -> None:
        self._seen, self._space = seen, space

    def preprocess(self, asked: Photo) -> Any:
        return self._seen.classifier.preprocess(asked), self._seen.detector.preprocess(asked)

    def predict(self, inputs: Sequence[Any]) -> Sequence[tuple[Any, Any]]:
        squares, squeezed = zip(*inputs, strict=True)
        classes, boxes = self._seen.classifier.predict(squares), self._seen.detector.predict(squeezed)
        return list(zip(classes, boxes, strict=True))

    def postprocess(self, given: Any, output: tuple[Any, Any]) -> Reply:
        return embedded(self._space.middle(self.labels(given, output)))

    def labels(self, given: Any, output: tuple[Any, Any]) -> Labels:
        """What both see; each object counts once, as sure as the surest of its boxes."""
        probabilities, boxes = output
        labels = _classes(probabilities)
        for box in self._seen.detector.postprocess(given[1], boxes)["predictions"]:
            labels[box["label"]] = max(labels.get(box["label"], 0.0), box["confidence"])
        return labels


class LabelEmbedding(EmbedPhoto):
    """The same for the pipeline, which stores it: with the labels, and without a vote."""

    def postprocess(self, given: Any, output: tuple[Any, Any]) -> Reply:
        labels = self.labels(given, output)
        told = sorted(((sure, label) for label, sure in labels.items() if sure >= _TOLD), reverse=True)
        shown = [{"label": label, "confidence": round(sure, 4)} for sure, label in told]
        return {"predictions": [], **embedded(self._space.middle(labels)), "labels": shown}


def _classes(probabilities: Floats) -> dict[str, float]:
    names = vocabularies.names("imagenet")
    best = np.argsort(-probabilities, kind="stable")[:_CLASSES]
    return {names[n]: float(probabilities[n]) for n in best}
