"""CLIP (Radford et al. 2021, arXiv:2103.00020) or SigLIP (Zhai et al. 2023, arXiv:2303.15343), as
sentence-transformers reads them: images and texts as vectors of one space."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from windmill.errors import ConfigError
from windmill.services import pytorch
from windmill.services.base import Info, Photo
from windmill.services.resizing import no_strip
from windmill.services.weights import Weights

Floats = npt.NDArray[np.float32]

_loading = threading.Lock()
_loaded: WeakValueDictionary[str, Clip] = WeakValueDictionary()


def info(weights: Weights) -> Info:
    """What looks."""
    return Info.of(weights, "sentence-transformers", weights.folder.name)


def shared(weights: Weights) -> Clip:
    """The model in this folder, which a process has in memory once, however many of its services use it.

    Raises `ConfigError`.
    """
    key = str(weights.folder)
    with _loading:
        clip = _loaded.get(key) or Clip(weights)
        _loaded[key] = clip
    return clip


class Clip:
    """Two encoders into one space. Raises `ConfigError`: no PyTorch, or a folder that holds no such model."""

    def __init__(self, weights: Weights) -> None:
        pytorch.transformers()
        self._turns = threading.Lock()  # services that share it have a thread each
        self._torch = pytorch.library("torch")
        library = pytorch.library("sentence_transformers")
        try:
            self._model = library.SentenceTransformer(
                str(weights.folder), device=pytorch.device(), local_files_only=True
            )
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{weights.folder}: sentence-transformers cannot load it: {exc}") from exc
        inner, config = self._model.transformers_model, self._model.config
        if "clip" not in config.model_type and not config.model_type.startswith("siglip"):
            raise ConfigError(f"{weights.folder}: {config.model_type} is not CLIP or SigLIP")
        self._model.eval()
        self._model.max_seq_length = config.get_text_config().max_position_embeddings
        # SigLIP was trained on texts of full length, CLIP's attention does not see what fills them up.
        padding = "max_length" if config.model_type.startswith("siglip") else "longest"
        self._processing = {"text": {"padding": padding}}
        self.scale = float(inner.logit_scale.detach().exp())
        self.dimension = len(self.texts([""])[0])

    def pixels(self, photo: Photo) -> Any:
        """A tensor of 1 × 3 × side × side, as the model was trained to see it."""
        picture = Pictures.fromarray(no_strip(photo.pixels))
        return self._model.preprocess([picture])["pixel_values"]

    def images(self, tensors: Sequence[Any]) -> Floats:
        """A vector of length 1 for each of what `pixels` gave (n × dimension)."""
        return self._vectors({"pixel_values": self._torch.cat(list(tensors)), "modality": "image"})

    def texts(self, texts: Sequence[str]) -> Floats:
        """A vector of length 1 for each text (n × dimension); what is too long for the model is cut."""
        return self._vectors(self._model.preprocess(list(texts), processing_kwargs=self._processing))

    def _vectors(self, features: Mapping[str, Any]) -> Floats:
        placed = {
            name: value.to(self._model.device) if self._torch.is_tensor(value) else value
            for name, value in features.items()
        }
        with self._turns, self._torch.inference_mode():
            found = self._model(placed)["sentence_embedding"].float()
            unit = self._torch.nn.functional.normalize(found, dim=-1)
        return np.asarray(unit.cpu().numpy(), np.float32)
