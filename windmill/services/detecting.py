"""A detector whose network the user pulls or brings: how photos are fitted in, and how boxes are read out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from windmill.services import boxes
from windmill.services.base import Photo, Reply, Task
from windmill.services.boxes import Floats, Found
from windmill.services.letterbox import Fitted
from windmill.services.networks import Network
from windmill.vocabularies import Vocabulary

Outputs = Sequence[Floats]  # what the network says to one picture

_MOST = 300  # boxes of one photo, as with ultralytics


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a network's outputs are meant.

    `decode` gives boxes in pixels of the picture, all above the threshold. `overlap` is the IoU from which
    the weaker of two boxes of a class goes; None where the network itself answers with each object once.
    """

    fit: Callable[[Photo, int, int], Fitted]
    decode: Callable[[Outputs], Found]
    names: Sequence[str]
    vocabulary: Vocabulary
    overlap: float | None = None


class Detector(Task[Photo, Fitted, Outputs]):
    """Photos in, boxes out."""

    def __init__(self, network: Network, reading: Reading) -> None:
        self._network, self._reading = network, reading
        self.batch, self.limited = network.batch, network.limited

    def preprocess(self, asked: Photo) -> Fitted:
        return self._reading.fit(asked, self._network.width, self._network.height)

    def predict(self, inputs: Sequence[Fitted]) -> Sequence[Outputs]:
        outputs = self._network(np.stack([one.pixels for one in inputs]))
        return [[output[n] for output in outputs] for n in range(len(inputs))]

    def postprocess(self, given: Fitted, output: Outputs) -> Reply:
        found = self.found(given, output)
        return {"predictions": boxes.predictions(found, self._reading.names, self._reading.vocabulary)}

    def found(self, given: Fitted, output: Outputs) -> Found:
        """What there is, in whole pixels of the photo."""
        seen = self._reading.decode(output)
        if self._reading.overlap is not None:
            seen = boxes.suppressed(seen, self._reading.overlap)
        kept = seen.strongest(_MOST)
        return boxes.visible(
            Found(given.back(kept.corners), kept.scores, kept.classes), given.width, given.height
        )
