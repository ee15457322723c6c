"""CenterNet with MobileNetV3 (Zhou et al. 2019, arXiv:1904.07850): objects as points."""

from __future__ import annotations

from collections.abc import Sequence

from windmill.services import coco, onnx_session
from windmill.services.base import Info, Model, Photo, Reply, Task, analyzer
from windmill.services.boxes import Floats
from windmill.services.coco import Squeezed
from windmill.services.weights import Weights

_SIZE = 512
_THRESHOLD = 0.3


def load(weights: Weights) -> Model:
    """The input is squeezed to 512 × 512. The weakest of the three, good for disagreement."""
    return analyzer(Info.of(weights, "ONNX Runtime", "CenterNet MobileNetV3 512"), CenterNet(weights))


class CenterNet(Task[Photo, Squeezed, Floats]):
    """See `load`."""

    def __init__(self, weights: Weights) -> None:
        self._session = onnx_session.converted(
            weights, "package/models/centernet.json", ["tower_0/detections"]
        )
        self._input = self._session.get_inputs()[0].name

    def preprocess(self, asked: Photo) -> Squeezed:
        return coco.squeezed(asked, _SIZE)

    def predict(self, inputs: Sequence[Squeezed]) -> Sequence[Floats]:
        return [self._session.run(None, {self._input: one.planes[None]})[0][0] for one in inputs]

    def postprocess(self, given: Squeezed, output: Floats) -> Reply:
        strong = output[output[:, 4] > _THRESHOLD]  # x1, y1, x2, y2, score, class
        indices = strong[:, 5].astype(int).tolist()
        found = coco.detections(given, strong[:, :4] / _SIZE, strong[:, 4], indices, threshold=_THRESHOLD)
        return {"predictions": found}
