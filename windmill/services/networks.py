"""Networks that look at pictures, from files that users pull or bring: ONNX, or ultralytics' checkpoints."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from onnxruntime.capi import onnxruntime_pybind11_state as state

from windmill.errors import ConfigError
from windmill.services import checkpoint
from windmill.services.boxes import Floats
from windmill.services.onnx_session import open_session
from windmill.services.weights import Weights

Pictures = npt.NDArray[np.uint8]  # n × height × width × RGB

BATCH = 8  # pictures at once where the file leaves it open
_SIDE = 640  # pixels, where neither the file's input nor its metadata tell
BROKEN = (  # what ONNX Runtime raises
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)


class Network(Protocol):
    """Called with up to `batch` pictures of its size, it gives its outputs, the n-th picture's at n of each.

    `limited`: its file fixes `batch`. `names` are its classes as its file names them, by number; none where
    it does not.
    """

    framework: str
    width: int
    height: int
    batch: int
    limited: bool
    names: tuple[str, ...]

    def __call__(self, pictures: Pictures) -> Sequence[Floats]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A network, the file that it is in, and the shapes of what it answers to one picture."""

    network: Network
    file: Path
    shapes: tuple[tuple[int, ...], ...]


def opened(weights: Weights) -> Opened:
    """The network in the one file among `weights` that holds one. Raises `ConfigError`.

    It has looked at one grey picture when this returns, so what is no such network is told at once.
    """
    file = weights.folder / the_file(weights, _READERS)
    network = _READERS[file.suffix](file)
    grey = np.full((1, network.height, network.width, 3), 114, np.uint8)
    return Opened(network, file, tuple(output.shape[1:] for output in network(grey)))


def the_file(weights: Weights, suffixes: Mapping[str, object]) -> str:
    """The name of the only file with one of these suffixes. Raises `ConfigError`."""
    fitting = [name for name in weights.files if Path(name).suffix in suffixes]
    if len(fitting) != 1:
        seen = ", ".join(fitting or weights.files)
        raise ConfigError(
            f"{weights.name}: {weights.folder}: expected one file of type {' or '.join(suffixes)}, got {seen}"
        )
    return fitting[0]


class OnnxNetwork:
    """An ONNX export with an input of n × RGB × height × width from 0 to 1, of single or half precision.

    A size or number of pictures that the export fixes is kept to; where it leaves the size open, the
    `imgsz` that ultralytics notes in the file counts.
    """

    def __init__(self, path: Path) -> None:
        self.framework = "ONNX Runtime"
        try:
            self._session = open_session(path)
        except BROKEN as exc:
            raise ConfigError(f"{path}: not an ONNX model that can be run: {exc}") from exc
        given = self._session.get_inputs()
        if len(given) != 1 or len(given[0].shape) != 4:
            shapes = ", ".join(f"{one.name} {one.shape}" for one in given)
            raise ConfigError(f"{path}: expected one input (n, 3, height, width), got {shapes}")
        self._input = given[0].name
        self._type = np.float16 if given[0].type == "tensor(float16)" else np.float32
        notes = self._session.get_modelmeta().custom_metadata_map
        batch, _, height, width = given[0].shape
        high, wide = _size(path, notes)
        self._fixed = batch if isinstance(batch, int) else None
        self.batch, self.limited = self._fixed or BATCH, self._fixed is not None
        self.height = height if isinstance(height, int) else high
        self.width = width if isinstance(width, int) else wide
        self.names = _names(path, notes)

    def __call__(self, pictures: Pictures) -> Sequence[Floats]:
        missing = (self._fixed or len(pictures)) - len(pictures)
        whole = np.concatenate([pictures, np.repeat(pictures[-1:], missing, axis=0)])
        planes = (np.ascontiguousarray(whole.transpose(0, 3, 1, 2)) / np.float32(255)).astype(self._type)
        outputs = self._session.run(None, {self._input: planes})
        return [np.asarray(output[: len(pictures)], np.float32) for output in outputs]


_READERS: Mapping[str, Callable[[Path], Network]] = {".onnx": OnnxNetwork, ".pt": checkpoint.Checkpoint}


def _size(path: Path, notes: Mapping[str, str]) -> tuple[int, int]:
    """Height and width as ultralytics notes them."""
    size = _literal(path, notes, "imgsz", [_SIDE, _SIDE])
    if not (isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int for n in size)):
        raise ConfigError(f"{path}: its note imgsz is {size!r}: expected [height, width]")
    return size[0], size[1]


def _names(path: Path, notes: Mapping[str, str]) -> tuple[str, ...]:
    """The classes as ultralytics notes them: {0: 'person', …}."""
    names = _literal(path, notes, "names", {})
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not (isinstance(names, dict) and sorted(names) == list(range(len(names)))):
        raise ConfigError(f"{path}: its note names: expected {{0: 'person', …}}")
    return tuple(str(names[number]) for number in range(len(names)))


def _literal(path: Path, notes: Mapping[str, str], key: str, default: object) -> Any:
    """A note of the file, which is written as Python would: read as data, never run."""
    if key not in notes:
        return default
    try:
        return ast.literal_eval(notes[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError) as exc:
        raise ConfigError(f"{path}: its note {key} cannot be read: {notes[key][:100]!r}") from exc
