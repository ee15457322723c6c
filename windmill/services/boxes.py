"""What detectors find: boxes with scores and classes, one for each object, and as replies hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from windmill.services import emoji
from windmill.services.base import Prediction
from windmill.vocabularies import Vocabulary

Floats = npt.NDArray[np.float32]
Corners = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """Boxes (n × x1, y1, x2, y2), their scores (n, 0 to 1) and the numbers of their classes (n)."""

    corners: Corners
    scores: npt.NDArray[np.floating[Any]]
    classes: npt.NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, places: npt.NDArray[Any]) -> Found:
        """Those at these places, or where the mask is true."""
        return Found(self.corners[places], self.scores[places], self.classes[places])

    def strongest(self, most: int) -> Found:
        """At most so many, the surest first."""
        return self.at(np.argsort(-self.scores, kind="stable")[:most])


def best(corners: Corners, by_class: npt.NDArray[np.floating[Any]], threshold: float) -> Found:
    """Each box with its best class (scores: n × classes), where that is above the threshold."""
    scores = by_class.max(axis=1)
    strong = scores > threshold
    return Found(corners[strong], scores[strong], by_class[strong].argmax(axis=1))


def suppressed(found: Found, overlap: float) -> Found:
    """Non-maximum suppression by class: of boxes that share more than `overlap` (IoU) the surest stays."""
    return found.at(apart(found.corners, found.scores, overlap, found.classes))


def apart(
    corners: Corners, scores: npt.NDArray[Any], overlap: float, classes: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.int64]:
    """Places of the boxes that non-maximum suppression leaves, the surest first; without classes, all are
    of one."""
    if not len(scores):
        return np.zeros(0, np.int64)
    sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).astype(float).tolist()
    numbers = (np.zeros(len(scores), int) if classes is None else classes).tolist()
    kept = cv2.dnn.NMSBoxesBatched(sizes, scores.astype(float).tolist(), numbers, 0.0, overlap)
    places = np.array(kept, np.int64).reshape(-1)
    return places[np.argsort(-scores[places], kind="stable")]


def on_photo(corners: Corners, width: int, height: int) -> npt.NDArray[np.int64]:
    """The same in whole pixels of a photo, cut at its edges."""
    limits = np.array([width, height] * 2)
    return np.clip(np.rint(corners), 0, limits).astype(np.int64)


def visible(found: Found, width: int, height: int) -> Found:
    """What there is to see of the boxes on a photo, in whole pixels; nothing of those without area."""
    corners = on_photo(found.corners, width, height)
    whole = Found(corners, found.scores, found.classes)  # type: ignore[arg-type]
    return whole.at(np.flatnonzero((corners[:, :2] < corners[:, 2:]).all(axis=1)))


def predictions(found: Found, names: Sequence[str], vocabulary: Vocabulary) -> list[Prediction]:
    """As a reply holds them; a number beyond the names is said as such."""
    rows = zip(found.corners.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    return [_prediction(box, score, label(names, number), vocabulary) for box, score, number in rows]


def label(names: Sequence[str], number: int) -> str:
    """The name of a class; `class 7` if nobody named it."""
    return names[number] if 0 <= number < len(names) else f"class {number}"


def _prediction(corners: list[int], score: float, name: str, vocabulary: Vocabulary) -> Prediction:
    x1, y1, x2, y2 = corners
    return {
        "label": name,
        "confidence": round(min(1.0, score), 4),
        "emoji": emoji.of(name, vocabulary),
        "bbox": {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
    }
