"""Detectron2 (Wu et al. 2019): its exports by tracing, ONNX or TorchScript, or a model of the library itself.

`tools/deploy/export_model.py --export-method tracing` writes a network that takes one picture (blue, green,
red × height × width, 0 to 255) and answers with boxes in its pixels, class numbers, scores and the size.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from windmill import vocabularies
from windmill.errors import ConfigError
from windmill.services import boxes
from windmill.services.base import Info, Model, Photo, Pixels, Reply, Task, analyzer
from windmill.services.boxes import Found
from windmill.services.letterbox import Fitted, cornered, stretched
from windmill.services.networks import BROKEN
from windmill.services.onnx_session import open_session
from windmill.services.weights import Weights

_SHORTEST, _LONGEST = 800, 1333  # pixels of a photo's sides, as its models are tested
_THRESHOLD = 0.5
_MOST = 100

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Network:
    """`look`: a picture (height × width × RGB) → boxes, class numbers, scores, as arrays in any order.

    `fit` brings a photo to the size that it wants.
    """

    framework: str
    fit: Callable[[Photo], Fitted]
    look: Callable[[Pixels], Arrays]


def load(weights: Weights) -> Model:
    """From an `.onnx`, a TorchScript file, or a folder with the library's `.yaml` and `.pth` or `.pkl`.

    It has looked at one grey picture when this returns. Raises `ConfigError`.
    """
    by_suffix = {Path(name).suffix: weights.folder / name for name in weights.files}
    suffix = next((suffix for suffix in _READERS if suffix in by_suffix), None)
    if suffix is None:
        raise ConfigError(f"{weights.name}: {weights.folder}: expected one of {', '.join(_READERS)}")
    path = by_suffix[suffix]
    detector = Detectron2(_READERS[suffix](path))
    grey = np.full((64, 64, 3), 114, np.uint8)
    try:
        detector.alone(Photo(data=b"", pixels=grey))
    except (*BROKEN, RuntimeError, TypeError, ValueError) as exc:
        raise ConfigError(f"{path}: not a detector as Detectron2 traces it: {exc}") from exc
    return analyzer(Info.of(weights, detector.framework, f"Detectron2 {path.stem}"), detector)


class Detectron2(Task[Photo, Fitted, Found]):
    """See `load`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.framework = network.framework

    def preprocess(self, asked: Photo) -> Fitted:
        return self._network.fit(asked)

    def predict(self, inputs: Sequence[Fitted]) -> Sequence[Found]:
        return [read(self._network.look(one.pixels)) for one in inputs]

    def postprocess(self, given: Fitted, output: Found) -> Reply:
        kept = output.at(output.scores > _THRESHOLD).strongest(_MOST)
        back = Found(given.back(kept.corners), kept.scores, kept.classes)
        seen = boxes.visible(back, given.width, given.height)
        return {"predictions": boxes.predictions(seen, vocabularies.names("coco"), "coco")}


def read(arrays: Arrays) -> Found:
    """By shape and kind: exports order the fields of `Instances` by name, and may add masks and the size.

    Raises `ValueError` when something is missing.
    """
    corners = next((one for one in arrays if one.ndim == 2 and one.shape[1] == 4), None)
    classes = next((one for one in arrays if one.ndim == 1 and one.dtype.kind == "i"), None)
    scores = next((one for one in arrays if one.ndim == 1 and one.dtype.kind == "f"), None)
    if corners is None or classes is None or scores is None:
        shapes = ", ".join(f"{one.dtype} {one.shape}" for one in arrays)
        raise ValueError(f"answers {shapes}: expected boxes (n, 4), classes (n), scores (n)")
    if not len(corners) == len(classes) == len(scores):
        raise ValueError(f"{len(corners)} boxes, {len(classes)} classes, {len(scores)} scores")
    return Found(corners, scores, classes)


def tested_size(width: int, height: int) -> tuple[int, int]:
    """Width and height with the shortest side of 800 pixels, and none above 1333."""
    scale = min(_SHORTEST / min(width, height), _LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(photo: Photo) -> Fitted:
    return stretched(photo, *tested_size(photo.width, photo.height))


def _untouched(photo: Photo) -> Fitted:
    return Fitted(photo.pixels, (1.0, 1.0), (0, 0), photo.width, photo.height)


def _planes(picture: Pixels, kind: type[np.generic] = np.float32) -> npt.NDArray[Any]:
    """Blue, green, red × height × width."""
    return np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)).astype(kind)


def _onnx(path: Path) -> Network:
    try:
        session = open_session(path)
    except BROKEN as exc:
        raise ConfigError(f"{path}: not an ONNX model that can be run: {exc}") from exc
    entry = session.get_inputs()[0]
    if len(entry.shape) != 3:
        raise ConfigError(f"{path}: its input is {entry.shape}: expected (3, height, width)")
    kind = np.uint8 if entry.type == "tensor(uint8)" else np.float32
    _, height, width = entry.shape
    fixed = isinstance(height, int) and isinstance(width, int)  # traced without dynamic axes
    return Network(
        "ONNX Runtime",
        (lambda photo: cornered(photo, width, height, fill=114)) if fixed else _resized,
        lambda picture: session.run(None, {entry.name: _planes(picture, kind)}),
    )


def _torchscript(path: Path) -> Network:
    torch = _library("torch", path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        script = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as exc:
        raise ConfigError(f"{path}: not TorchScript that can be run: {exc}") from exc

    def look(picture: Pixels) -> Arrays:
        with torch.inference_mode():
            return [one.cpu().numpy() for one in script(torch.from_numpy(_planes(picture)).to(device))]

    return Network("TorchScript", _resized, look)


def _of_library(path: Path) -> Network:
    """A model of the library: its configuration, and beside it the one file of weights."""
    config, engine = _library("detectron2.config", path), _library("detectron2.engine", path)
    files = [file for file in sorted(path.parent.iterdir()) if file.suffix in (".pth", ".pkl")]
    if len(files) != 1:
        raise ConfigError(f"{path.parent}: expected one .pth or .pkl beside {path.name}, got {len(files)}")
    chosen = config.get_cfg()
    chosen.merge_from_file(str(path))
    chosen.MODEL.WEIGHTS = str(files[0])
    chosen.MODEL.DEVICE = "cuda" if _library("torch", path).cuda.is_available() else "cpu"
    predictor = engine.DefaultPredictor(chosen)

    def look(picture: Pixels) -> Arrays:
        seen = predictor(np.ascontiguousarray(picture[:, :, ::-1]))["instances"].to("cpu")
        return [one.numpy() for one in (seen.pred_boxes.tensor, seen.pred_classes, seen.scores)]

    return Network("Detectron2", _untouched, look)


def _library(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{path}: needs {exc.name}, which is not installed; an .onnx export does not"
        ) from exc


_READERS: Mapping[str, Callable[[Path], Network]] = {
    ".onnx": _onnx,
    ".pt": _torchscript,
    ".ts": _torchscript,
    ".yaml": _of_library,
}
