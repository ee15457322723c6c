"""ONNX models on the CPU, or on CUDA where onnxruntime has it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime

from windmill.services import tfjs, weights
from windmill.services.weights import Weights

# The first that is there. Else CUDA would search its fastest convolution anew for each size of a batch.
_PROVIDERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}),
    ("CPUExecutionProvider", {}),
)
THREADS = 2  # of one model: several share a machine


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the model at `path`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # halves the CPU of a prediction
    there = onnxruntime.get_available_providers()
    providers = [provider for provider in _PROVIDERS if provider[0] in there]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def converted(
    source: Weights, model: str, outputs: Sequence[str], cut: Mapping[str, Sequence[int]] | None = None
) -> onnxruntime.InferenceSession:
    """A session on a TensorFlow.js model, which is converted the first time, and again by a new converter."""

    def make(fetched: Weights) -> onnx.ModelProto:
        return tfjs.convert(fetched.folder / model, outputs, cut=cut)

    converter = sorted(Path(tfjs.__file__).parent.glob("*.py"))
    return made(source, make, converter, [model, outputs, cut], Path(model).stem)


def made(
    source: Weights,
    make: Callable[[Weights], onnx.ModelProto],
    by: Iterable[Path],
    told: Sequence[object],
    part: str = "",
) -> onnxruntime.InferenceSession:
    """A session on what `make` makes of a model's weights: once, and again when its source files (`by`)
    or what it is told change. `part` tells apart what is made of the same weights."""
    recipe = hashlib.sha256(repr(told).encode())
    for file in by:
        recipe.update(file.read_bytes())
    path = weights.derived(
        source.name, recipe.hexdigest()[:12], lambda fetched: bytes(make(fetched).SerializeToString()), part
    )
    return open_session(path)
