"""Faces as 128 numbers, near for one person and far for two: SFace (Zhong et al. 2021, arXiv:2205.12010).

YuNet finds the faces. What is said has no emoji: the service `face` votes already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from windmill.services import onnx_session
from windmill.services.base import (
    ANALYZE,
    EMBED_IMAGE,
    Info,
    Model,
    NothingToEmbed,
    Photo,
    Prediction,
    Reply,
    Task,
)
from windmill.services.face import Reduced, YuNet, prediction
from windmill.services.weights import Weights

_SIZE = 112  # pixels a side of an aligned face
_DIMENSION = 128

# Where the eyes, the nose and the corners of the mouth (as YuNet orders them) lie on an aligned face.
_PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

Floats = npt.NDArray[np.float32]


def load(face: Weights, sface: Weights) -> Model:
    """Photos are looked at with up to 640 pixels a side."""
    networks = _Networks(face, sface)
    info = Info.of(sface, "ONNX Runtime", "YuNet 2023mar + SFace 2021dec int8bq")
    return Model(
        info=info,
        tasks={ANALYZE: AllFaces(networks), EMBED_IMAGE: LargestFace(networks)},
        dimension=_DIMENSION,
    )


@dataclass(frozen=True, slots=True)
class Embedded:
    """A face as YuNet tells of it (see `face.Faces`), and 128 numbers of length 1."""

    face: Floats
    embedding: Floats


class _Networks:
    """What both tasks share."""

    def __init__(self, face: Weights, sface: Weights) -> None:
        self.finder = YuNet(face)
        self._session = onnx_session.made(sface, _graph, [Path(__file__)], [])

    def embedded(self, photo: Reduced, face: Floats) -> Embedded:
        onto = aligned(face[4:14].reshape(5, 2).astype(float), _PLACES)
        chip = cv2.warpAffine(photo.pixels, onto, (_SIZE, _SIZE))
        planes = chip[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        vector = self._session.run(None, {"data": planes})[0][0]
        return Embedded(face, vector / max(float(np.linalg.norm(vector)), 1e-9))


class AllFaces(Task[Photo, Reduced, list[Embedded]]):
    """Each face with its box, points and embedding."""

    def __init__(self, networks: _Networks) -> None:
        self._networks = networks

    def preprocess(self, asked: Photo) -> Reduced:
        return self._networks.finder.preprocess(asked)

    def predict(self, inputs: Sequence[Reduced]) -> Sequence[list[Embedded]]:
        found = self._networks.finder.predict(inputs)
        return [
            [self._networks.embedded(photo, face) for face in faces]
            for photo, faces in zip(inputs, found, strict=True)
        ]

    def postprocess(self, given: Reduced, output: list[Embedded]) -> Reply:
        found = (_prediction(given, one) for one in output)
        return {"predictions": [one for one in found if min(one["bbox"][2:]) > 0]}


class LargestFace(Task[Photo, Reduced, Embedded | None]):
    """The embedding of the face that fills most of the photo."""

    def __init__(self, networks: _Networks) -> None:
        self._networks = networks

    def preprocess(self, asked: Photo) -> Reduced:
        return self._networks.finder.preprocess(asked)

    def predict(self, inputs: Sequence[Reduced]) -> Sequence[Embedded | None]:
        found = self._networks.finder.predict(inputs)
        return [self._largest(photo, faces) for photo, faces in zip(inputs, found, strict=True)]

    def postprocess(self, given: Reduced, output: Embedded | None) -> Reply:  # noqa: ARG002 -- of a task
        """Raises `NothingToEmbed` where no face was found."""
        if output is None:
            raise NothingToEmbed("no face is in this photo")
        return {"embedding": _rounded(output.embedding), "dimension": len(output.embedding)}

    def _largest(self, photo: Reduced, faces: Floats) -> Embedded | None:
        if not len(faces):
            return None
        return self._networks.embedded(photo, faces[int((faces[:, 2] * faces[:, 3]).argmax())])


def aligned(points: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> Floats:
    """The turn, scale and shift (2 × 3) that bring points (n × x, y) nearest to their places.

    Least squares, without mirroring (Umeyama 1991, doi:10.1109/34.88573). Points that all coincide are only
    moved.
    """
    center, target = points.mean(axis=0), places.mean(axis=0)
    start, end = points - center, places - target
    left, strength, right = np.linalg.svd(end.T @ start)
    signs = np.array([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    spread = float((start**2).sum())
    scale = float(strength @ signs) / spread if spread else 1.0
    turned = scale * (left * signs) @ right
    return np.column_stack([turned, target - turned @ center]).astype(np.float32)


def _prediction(given: Reduced, one: Embedded) -> Prediction:
    return {**prediction(given, one.face), "embedding": _rounded(one.embedding)}


def _rounded(vector: Floats) -> list[float]:
    return [round(float(value), 6) for value in vector]


def _graph(weights: Weights) -> onnx.ModelProto:
    """The file lists its weights as inputs, too, which onnxruntime would then ask for, and some that no node
    uses, of which it would warn."""
    model = onnx.load(str(weights.path()))
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    for entries, wanted in ((graph.input, {"data"}), (graph.initializer, used)):
        kept = [entry for entry in entries if entry.name in wanted]
        del entries[:]
        entries.extend(kept)
    return model
