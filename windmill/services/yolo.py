"""YOLO as ultralytics exports it (versions 5 to 12 and those without suppression), with any classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from windmill import vocabularies
from windmill.errors import ConfigError
from windmill.services import boxes, letterbox, networks
from windmill.services.base import Info, Model, analyzer
from windmill.services.boxes import Corners, Found
from windmill.services.detecting import Detector, Outputs, Reading
from windmill.services.networks import Opened
from windmill.services.weights import Weights
from windmill.vocabularies import Vocabulary

_VOCABULARIES: Mapping[str, Vocabulary] = {
    "yolov8": "coco",
    "yolo_365": "objects365",
    "yolo_oi7": "openimages",
}
_THRESHOLD, _OVERLAP = 0.25, 0.7  # as ultralytics predicts

_Decode = Callable[[Outputs], Found]


def load(weights: Weights) -> Model:
    """Photos are letterboxed to the network's size, 640 × 640 as a rule. Raises `ConfigError`."""
    seen, vocabulary = networks.opened(weights), _VOCABULARIES[weights.name]
    names = seen.network.names or vocabularies.names(vocabulary)
    decode, overlap = _layout(seen, len(names))
    reading = Reading(
        fit=letterbox.letterboxed, decode=decode, names=names, vocabulary=vocabulary, overlap=overlap
    )
    info = Info.of(weights, seen.network.framework, f"YOLO {seen.file.stem}")
    return analyzer(info, Detector(seen.network, reading))


def _layout(seen: Opened, classes: int) -> tuple[_Decode, float | None]:
    """How the first output is read, and whether boxes are left to suppress. Raises `ConfigError`.

    A file that names its classes may say more of a box behind them (masks, keypoints).
    """
    match seen.shapes[0]:
        case (_, 6):
            return end_to_end, None
        case (values, n) if values == 4 + classes or (4 + classes < values < n and seen.network.names):
            return partial(columns, classes=classes), _OVERLAP
        case (_, values) if values == 5 + classes:
            return partial(rows, classes=classes), _OVERLAP
    raise ConfigError(
        f"{seen.file}: answers {seen.shapes[0]}: expected ({4 + classes}, n) or (n, 6), as YOLO does with"
        f" {classes} classes; is it a detector, and does it name its classes (an export by ultralytics does)?"
    )


def columns(outputs: Outputs, classes: int) -> Found:
    """Center, size and a score for each class, one below the other: (4 + classes, n). YOLOv8 and later."""
    values = outputs[0].T
    return boxes.best(corners(values[:, :4]), values[:, 4 : 4 + classes], _THRESHOLD)


def rows(outputs: Outputs, classes: int) -> Found:
    """The same one beside the other, and one for the box: (n, 5 + classes). YOLOv5's own exports."""
    values = outputs[0]
    return boxes.best(corners(values[:, :4]), values[:, 5 : 5 + classes] * values[:, 4:5], _THRESHOLD)


def end_to_end(outputs: Outputs) -> Found:
    """Corners, score and class of each object: (n, 6). Exports with `nms=True`, YOLOv10 and YOLO26."""
    values = outputs[0]
    found = Found(values[:, :4], values[:, 4], values[:, 5].astype(int))
    return found.at(found.scores > _THRESHOLD)


def corners(centered: Corners) -> Corners:
    """n × center x, center y, width, height → n × x1, y1, x2, y2."""
    middle, half = centered[:, :2], centered[:, 2:] / 2
    whole: Corners = np.concatenate([middle - half, middle + half], axis=1)
    return whole
