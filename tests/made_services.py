"""Services whose weights no registry of packages has: our loading code, on what tests make in their formats.

What they see means nothing, but each sees something in every picture.
"""

import importlib
from functools import partial

import numpy as np

from tests.unit.services import made
from tests.vision import Endpoint, endpoint_serving
from windmill.services import ollama, registry
from windmill.services.app import ServiceApp
from windmill.services.host import Limits
from windmill.services.weights import Weights
from windmill.settings import Settings

MIDDLE = (32, 32, 32, 16, 0, 0.9)  # of a network of 64 × 64: center, size, class, score
# PyTorch takes seconds, which one file of tests shall take.
TORCH = ("blip", "clip", "caption_score", "resnet50")


def app(name, folder, stack):
    """The service's application; what it needs lies in `folder`, and ends with `stack`."""
    loading = _described(stack) if name == "ollama" else partial(_loaded, name, folder)
    return ServiceApp(name, loading, asks=registry.SERVICES[name].asks, limits=Limits())


def _described(stack):
    endpoint = stack.enter_context(endpoint_serving(Endpoint()))
    return partial(ollama.described_by, Settings(vision_url=endpoint.url, vision_model="seer"))


def _loaded(name, folder):
    entry = registry.SERVICES[name]
    load = importlib.import_module(f"windmill.services.{entry.module}").load
    return load(*(_MADE[one](folder / one, one) for one in entry.weights))


def _onnx(*answers, **notes):
    def make(folder, name):
        folder.mkdir()
        return made.weights(made.onnx_file(folder / "tiny.onnx", *answers, **notes), name)

    return make


def _traced(folder, name):
    """An export of Detectron2 for pictures of 100 × 100."""
    folder.mkdir()
    found = made.instances(((25, 12.5, 50, 25), 16, 0.9))
    return made.weights(made.detectron2_file(folder / "tiny.onnx", found, (100, 100)), name)


def _of_hub(kind):
    def make(folder, name):
        from tests import tiny_models

        if not folder.exists():  # another service's, too
            getattr(tiny_models, kind)(folder)
        files = {"model.safetensors": "0" * 64}
        return Weights(name=name, version="tiny", licence="", folder=folder, files=files)

    return make


_MADE = {
    "blip": _of_hub("blip"),
    "clip": _of_hub("clip_of_sentence_transformers"),
    "resnet50": _of_hub("resnet"),
    "yolov8": _onnx(made.columns(MIDDLE, classes=80)),
    "yolo_365": _onnx(made.columns(MIDDLE, classes=365)),
    "yolo_oi7": _onnx(made.columns(MIDDLE, classes=601)),
    "rtdetr": _onnx(np.array([[0.5, 0.5, 0.25, 0.5, 0.9, 1]] * 30)),
    "detectron2": _traced,
    "nudenet": _onnx(made.columns(MIDDLE, classes=18, n=40)),
}
