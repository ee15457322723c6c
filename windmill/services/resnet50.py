"""What a photo looks like, without words: the 2,048 pooled features of ResNet-50 (He et al. 2016,
arXiv:1512.03385), before the classes that it was trained for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pictures

from windmill.errors import ConfigError
from windmill.services import pytorch
from windmill.services.base import ANALYZE, EMBED_IMAGE, Info, Model, Photo, Reply, Task
from windmill.services.embedding import Floats, embedded
from windmill.services.resizing import no_strip
from windmill.services.weights import Weights


def load(weights: Weights) -> Model:
    """Embeddings of photos, of length 1; it reads no texts. Raises `ConfigError`: no PyTorch, or a folder
    that holds no ResNet."""
    network = ResNet(weights)
    return Model(
        info=Info.of(weights, "transformers", weights.folder.name),
        tasks={ANALYZE: ForPipeline(network), EMBED_IMAGE: EmbedImage(network)},
        dimension=network.dimension,
    )


class ResNet:
    """See `load`; of any depth, as transformers writes them."""

    def __init__(self, weights: Weights) -> None:
        transformers, self._torch = pytorch.transformers(), pytorch.library("torch")
        folder, local = str(weights.folder), {"local_files_only": True}
        try:
            self._processor = transformers.AutoImageProcessor.from_pretrained(folder, **local)
            model = transformers.AutoModelForImageClassification.from_pretrained(folder, **local)
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{weights.folder}: transformers cannot load it: {exc}") from exc
        if model.config.model_type != "resnet":
            raise ConfigError(f"{weights.folder}: {model.config.model_type} is not a ResNet")
        self._model = model.resnet.to(pytorch.device()).eval()
        self.dimension = int(model.config.hidden_sizes[-1])

    def pixels(self, photo: Photo) -> Any:
        """A tensor of 1 × 3 × side × side: the photo's middle, as the model's own description has it."""
        picture = Pictures.fromarray(no_strip(photo.pixels))
        return self._processor(images=picture, return_tensors="pt")["pixel_values"]

    def images(self, tensors: Sequence[Any]) -> Floats:
        """A vector of length 1 for each of what `pixels` gave (n × dimension)."""
        with self._torch.inference_mode():
            placed = self._torch.cat(list(tensors)).to(self._model.device)
            pooled = self._model(pixel_values=placed).pooler_output.flatten(1).float()
            unit = self._torch.nn.functional.normalize(pooled, dim=-1)
        return np.asarray(unit.cpu().numpy(), np.float32)


class EmbedImage(Task[Photo, Any, Floats]):
    """The photo's vector."""

    batch = 8

    def __init__(self, network: ResNet) -> None:
        self._network = network

    def preprocess(self, asked: Photo) -> Any:
        return self._network.pixels(asked)

    def predict(self, inputs: Sequence[Any]) -> Sequence[Floats]:
        return list(self._network.images(inputs))

    def postprocess(self, given: Any, output: Floats) -> Reply:  # noqa: ARG002 -- of a task
        return embedded(output)


class ForPipeline(EmbedImage):
    """The same for the pipeline, which stores it: without a vote."""

    def postprocess(self, given: Any, output: Floats) -> Reply:
        return {"predictions": [], **super().postprocess(given, output)}
