"""Checkpoints of ultralytics (`.pt`), for those who have the library: AGPL-3.0, and an extra of its own.

Only its loading code and the network itself are used; what goes in and what comes out is as with an ONNX
export of the same network, and so is what is made of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from windmill.errors import ConfigError
from windmill.services.boxes import Floats

if TYPE_CHECKING:
    from windmill.services.networks import Pictures

_BATCH = 8
_SIDE = 640  # pixels, where the checkpoint does not tell what it was trained with


class Checkpoint:
    """The network in a checkpoint, in single precision, on CUDA where PyTorch has it.

    A `.pt` is a pickle, which could run anything: it is read with the library's list of what a checkpoint
    may name (`safe_only`), and what names anything else is refused.
    """

    def __init__(self, path: Path) -> None:
        torch, tasks = _libraries(path)
        self.framework = "Ultralytics"
        saved = _saved(path, tasks)
        network = saved.get("ema") or saved.get("model")
        if not isinstance(network, torch.nn.Module):
            raise ConfigError(f"{path}: holds no network")
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network = network.float().eval().to(self._device)
        side = (saved.get("train_args") or {}).get("imgsz", _SIDE)
        self.height = self.width = side if isinstance(side, int) else _SIDE
        self.batch, self.limited = _BATCH, False
        self.names = tuple(str(name) for _, name in sorted(network.names.items()))

    def __call__(self, pictures: Pictures) -> Sequence[Floats]:
        planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)) / np.float32(255)
        with self._torch.inference_mode():
            output = self._network(self._torch.from_numpy(planes).to(self._device))
        first = output[0] if isinstance(output, list | tuple) else output  # then comes what training needs
        return [first.float().cpu().numpy()]


def _libraries(path: Path) -> tuple[Any, Any]:
    """torch, and ultralytics' code for checkpoints. Raises `ConfigError`."""
    threads, opening = cv2.getNumThreads(), Image.open
    try:
        return importlib.import_module("torch"), importlib.import_module("ultralytics.nn.tasks")
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f"{path}: .pt needs {exc.name}: pip install 'windmill-images[ultralytics]' (AGPL-3.0), or export"
            f" it where that is: yolo export model={path.name} format=onnx; the export runs without PyTorch"
        ) from exc
    finally:
        cv2.setNumThreads(threads)  # it takes OpenCV's threads away from the whole process,
        Image.open = opening  # and has Pillow install packages when it meets a picture that it does not know


def _saved(path: Path, tasks: Any) -> dict[str, Any]:
    try:
        saved, _ = tasks.torch_safe_load(path, safe_only=True)
    except (TypeError, RuntimeError, ModuleNotFoundError, AttributeError) as exc:
        raise ConfigError(f"{path}: not a checkpoint of ultralytics that can be read safely: {exc}") from exc
    if not isinstance(saved, dict):
        raise ConfigError(f"{path}: holds no checkpoint")
    return saved
