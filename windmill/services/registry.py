"""The reference services: name → model, loaded when asked for. Adding one is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from windmill import catalog
from windmill.errors import ConfigError
from windmill.services import weights
from windmill.services.base import ANALYZE, EMBED_IMAGE, EMBED_TEXT, SCORE, Captioned, Model, Photo


@dataclass(frozen=True, slots=True)
class Entry:
    """A service: the module whose `load(*weights)` gives its `Model`, the weights' names in the manifest,
    what it can be asked, by path, and whether it only asks a model that others run."""

    module: str
    weights: tuple[str, ...] = ()
    asks: Mapping[str, type] = field(default_factory=lambda: {ANALYZE: Photo})
    elsewhere: bool = False


_EMBEDS = {ANALYZE: Photo, EMBED_IMAGE: Photo, EMBED_TEXT: str}

SERVICES: Mapping[str, Entry] = {
    "colors": Entry("colors"),
    "metadata": Entry("metadata"),
    "face": Entry("face", ("face",)),
    "face_embedding": Entry(
        "face_embedding", ("face", "face_embedding"), {ANALYZE: Photo, EMBED_IMAGE: Photo}
    ),
    "pose": Entry("blazepose", ("pose",)),
    "movenet": Entry("movenet", ("movenet",)),
    "xception": Entry("classifier", ("xception",)),
    "ocr": Entry("ocr", ("ocr",)),
    "nsfw2": Entry("nsfw", ("nsfw2",)),
    "nanodet": Entry("nanodet", ("nanodet",)),
    "ssdlite": Entry("ssdlite", ("ssdlite",)),
    "centernet": Entry("centernet", ("centernet",)),
    "label_embedding": Entry("label_embedding", ("minilm", "xception", "ssdlite"), _EMBEDS),
    "blip": Entry("blip", ("blip",)),
    "ollama": Entry("ollama", elsewhere=True),
    "resnet50": Entry("resnet50", ("resnet50",), {ANALYZE: Photo, EMBED_IMAGE: Photo}),
    "clip": Entry("clip", ("clip",), _EMBEDS),
    "caption_score": Entry("caption_score", ("clip",), {SCORE: Captioned}),
    "yolov8": Entry("yolo", ("yolov8",)),
    "yolo_365": Entry("yolo", ("yolo_365",)),
    "yolo_oi7": Entry("yolo", ("yolo_oi7",)),
    "rtdetr": Entry("rtdetr", ("rtdetr",)),
    "detectron2": Entry("detectron2", ("detectron2",)),
    "nudenet": Entry("nudenet", ("nudenet",)),
}


def known(name: str) -> str:
    """`name`, if there is such a service. Raises `ConfigError`."""
    if name not in SERVICES:
        raise ConfigError(f"{name}: no reference service of that name; there are {', '.join(SERVICES)}")
    return name


def embedders() -> Sequence[str]:
    """Services that make vectors of photos."""
    return [name for name, entry in SERVICES.items() if EMBED_IMAGE in entry.asks]


def ready() -> Sequence[str]:
    """Services that need nothing from the user: their weights come out of packages, or are here."""
    return [
        name
        for name, entry in SERVICES.items()
        if not entry.elsewhere and all(weights.packaged(one) or weights.present(one) for one in entry.weights)
    ]


def load(name: str) -> Model:
    """A loaded model. Raises `ConfigError`."""
    entry = SERVICES[known(name)]
    loading: Callable[..., Model] = importlib.import_module(f"windmill.services.{entry.module}").load
    return loading(*(weights.fetch(one) for one in entry.weights))


def port(name: str) -> int:
    """Where the service listens unless told otherwise."""
    return catalog.facts(known(name)).port
