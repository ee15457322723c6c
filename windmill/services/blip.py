"""Captions by BLIP (Li et al. 2022, arXiv:2201.12086), or by another captioner that transformers loads and
that needs no prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image as Pictures

from windmill.errors import ConfigError
from windmill.services import emoji, pytorch
from windmill.services.base import Info, Model, Photo, Reply, RequestError, Task, analyzer
from windmill.services.resizing import no_strip
from windmill.services.weights import Weights

_LONGEST = 40  # tokens of a caption: a sentence


def load(weights: Weights) -> Model:
    """The same photo gets the same caption: nothing is sampled."""
    captioner = Captioner(weights)
    return analyzer(Info.of(weights, "transformers", weights.folder.name), captioner)


class Captioner(Task[Photo, Any, str]):
    """See `load`. Raises `ConfigError`: no PyTorch, or a folder that holds no such model."""

    batch = 4

    def __init__(self, weights: Weights) -> None:
        transformers, self._torch = pytorch.transformers(), pytorch.library("torch")
        folder, local = str(weights.folder), {"local_files_only": True}
        try:
            self._processor = transformers.AutoProcessor.from_pretrained(folder, **local)
            model = transformers.AutoModelForImageTextToText.from_pretrained(folder, **local)
        except (OSError, ValueError) as exc:
            raise ConfigError(f"{weights.folder}: transformers cannot load it: {exc}") from exc
        self._model = model.to(pytorch.device()).eval()

    def preprocess(self, asked: Photo) -> Any:
        picture = Pictures.fromarray(no_strip(asked.pixels))
        return self._processor(images=picture, return_tensors="pt")["pixel_values"]

    def predict(self, inputs: Sequence[Any]) -> Sequence[str]:
        tensors = self._torch.cat(list(inputs)).to(self._model.device)
        with self._torch.inference_mode():
            tokens = self._model.generate(pixel_values=tensors, max_new_tokens=_LONGEST, do_sample=False)
        captions = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [caption.strip() for caption in captions]

    def postprocess(self, given: Any, output: str) -> Reply:  # noqa: ARG002 -- of a task
        if not output:
            raise RequestError("the model said nothing")
        return {"predictions": [{"text": output, "emoji_mappings": emoji.mappings(output)}]}
