"""ONNX models on the CPU, or on CUDA where onnxruntime has it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime

from windmill.services import tfjs, weights
from windmill.services.weights import Weights

THREADS = 2  # of one model: several share a machine


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the model at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def converted(
    source: Weights, model: str, outputs: Sequence[str], cut: Mapping[str, Sequence[int]] | None = None
) -> onnxruntime.InferenceSession:
    """A session on a TensorFlow.js model, which is converted the first time, and again by a new converter."""

    def make(fetched: Weights) -> bytes:
        data: bytes = tfjs.convert(fetched.folder / model, outputs, cut=cut).SerializeToString()
        return data

    return open_session(weights.derived(source.name, _recipe(model, outputs, cut), make))


def _recipe(*arguments: object) -> str:
    """A fingerprint of a conversion: the converter's own source, and what it is told."""
    recipe = hashlib.sha256(repr(arguments).encode())
    for source in sorted(Path(tfjs.__file__).parent.glob("*.py")):
        recipe.update(source.read_bytes())
    return recipe.hexdigest()[:12]
