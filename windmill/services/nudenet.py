"""NudeNet: parts of bare bodies as boxes. Its file, 320n.onnx, is AGPL-3.0, so the user brings it."""

from __future__ import annotations

from collections.abc import Mapping

from windmill.errors import ConfigError
from windmill.services import boxes, letterbox, networks
from windmill.services.base import Info, Model, Prediction, Reply, analyzer
from windmill.services.boxes import Found
from windmill.services.detecting import Detector, Outputs, Reading
from windmill.services.letterbox import Fitted
from windmill.services.weights import Weights
from windmill.services.yolo import columns

# The labels in the order of the network's outputs. Faces and feet vote as what they are, bare parts as 🔞.
LABELS: Mapping[str, str] = {
    "FEMALE_GENITALIA_COVERED": "",
    "FACE_FEMALE": "👩",
    "BUTTOCKS_EXPOSED": "🔞",
    "FEMALE_BREAST_EXPOSED": "🔞",
    "FEMALE_GENITALIA_EXPOSED": "🔞",
    "MALE_BREAST_EXPOSED": "",
    "ANUS_EXPOSED": "🔞",
    "FEET_EXPOSED": "🦶",
    "BELLY_COVERED": "",
    "FEET_COVERED": "",
    "ARMPITS_COVERED": "",
    "ARMPITS_EXPOSED": "",
    "FACE_MALE": "👨",
    "BELLY_EXPOSED": "",
    "MALE_GENITALIA_EXPOSED": "🔞",
    "ANUS_COVERED": "",
    "FEMALE_BREAST_COVERED": "",
    "BUTTOCKS_COVERED": "",
}
_OVERLAP = 0.45


def load(weights: Weights) -> Model:
    """Photos are put into the upper left of a black square of 320 pixels. Raises `ConfigError`."""
    seen = networks.opened(weights)
    if seen.shapes[0][0] != 4 + len(LABELS):
        raise ConfigError(f"{seen.file}: answers {seen.shapes[0]}: expected ({4 + len(LABELS)}, n)")
    reading = Reading(
        fit=letterbox.cornered,
        decode=of_any_class,
        names=tuple(LABELS),
        vocabulary="coco",
    )
    info = Info.of(weights, seen.network.framework, f"NudeNet {seen.file.stem}")
    return analyzer(info, NudeNet(seen.network, reading))


class NudeNet(Detector):
    """See `load`. Boxes are corners, as this service's replies always had them."""

    def postprocess(self, given: Fitted, output: Outputs) -> Reply:
        found = self.found(given, output)
        rows = zip(found.corners.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
        return {"predictions": [_prediction(*row) for row in rows]}


def of_any_class(outputs: Outputs) -> Found:
    """One box for one place, whatever else it may be: suppression goes across classes."""
    found = columns(outputs, len(LABELS))
    return found.at(boxes.apart(found.corners, found.scores, _OVERLAP))


def _prediction(corners: list[int], score: float, number: int) -> Prediction:
    label = boxes.label(tuple(LABELS), number)
    return {"label": label, "confidence": round(min(1.0, score), 4), "emoji": LABELS[label], "bbox": corners}
