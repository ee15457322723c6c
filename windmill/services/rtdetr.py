"""RT-DETR (Zhao et al. 2023, arXiv:2304.08069): a transformer that answers with each object once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from windmill import vocabularies
from windmill.errors import ConfigError
from windmill.services import boxes, letterbox, networks
from windmill.services.base import Info, Model, analyzer
from windmill.services.boxes import Floats, Found
from windmill.services.detecting import Detector, Outputs, Reading
from windmill.services.networks import Opened
from windmill.services.weights import Weights
from windmill.services.yolo import corners

_THRESHOLD = 0.25

_Decode = Callable[[Outputs], Found]


def load(weights: Weights) -> Model:
    """Photos are stretched to the network's size, 640 × 640 as a rule. Raises `ConfigError`."""
    seen = networks.opened(weights)
    names = seen.network.names or vocabularies.names("coco")
    decode, sides = _layout(seen, len(names)), np.array([seen.network.width, seen.network.height] * 2)

    def in_pixels(outputs: Outputs) -> Found:
        found = decode(outputs)
        return Found(corners(found.corners) * sides, found.scores, found.classes)

    reading = Reading(fit=letterbox.stretched, decode=in_pixels, names=names, vocabulary="coco")
    info = Info.of(weights, seen.network.framework, f"RT-DETR {seen.file.stem}")
    return analyzer(info, Detector(seen.network, reading))


def _layout(seen: Opened, classes: int) -> _Decode:
    """How the outputs are read; boxes are center and size as parts of the picture. Raises `ConfigError`."""
    match seen.shapes:
        case [(_, 6), *_]:
            return labelled if classes != 2 else _of_two_classes
        case [(_, values), *_] if values == 4 + classes:
            return scored
        case [(n, values), (m, 4), *_] if n == m and values == classes:
            return partial(_of_transformers, logits=0, centered=1)
        case [(m, 4), (n, values), *_] if n == m and values == classes:
            return partial(_of_transformers, logits=1, centered=0)
    shown = " and ".join(str(shape) for shape in seen.shapes)
    raise ConfigError(
        f"{seen.file}: answers {shown}: expected (300, {4 + classes}) or (300, 6) as RT-DETR's exports by"
        f" ultralytics do, or (300, {classes}) and (300, 4) as those of transformers"
    )


def scored(outputs: Outputs) -> Found:
    """A score for each class: (300, 4 + classes)."""
    return boxes.best(outputs[0][:, :4], outputs[0][:, 4:], _THRESHOLD)


def labelled(outputs: Outputs) -> Found:
    """Score and class: (300, 6), as ultralytics exports since version 8.4."""
    values = outputs[0]
    found = Found(values[:, :4], values[:, 4], values[:, 5].astype(int))
    return found.at(found.scores > _THRESHOLD)


def _of_two_classes(outputs: Outputs) -> Found:
    """Six values may be either; only a class is a whole number in all 300."""
    last = outputs[0][:, 5]
    return (labelled if (last == np.rint(last)).all() else scored)(outputs)


def _of_transformers(outputs: Outputs, logits: int, centered: int) -> Found:
    """Logits and boxes apart, as `transformers` names and orders them."""
    return boxes.best(outputs[centered], _sigmoid(outputs[logits]), _THRESHOLD)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray((1 + np.tanh(logits / 2)) / 2, np.float32)  # does not overflow
