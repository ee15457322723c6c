"""What a model is: one file that loads, looks at a photo, and says what it saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Prediction = dict[str, Any]  # one entry of `predictions`, as docs/service-api.md says
Pixels = npt.NDArray[np.uint8]


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


class Model(Protocol):
    """A loaded model. `info` goes into each reply's `metadata.model_info`."""

    info: dict[str, str]

    def predict(self, photo: Photo) -> Sequence[Prediction]:
        """What it sees in one photo; called by one thread at a time."""
        ...
