"""Descriptions by a vision model that somebody else serves: any endpoint with OpenAI's chat completions
(Ollama, llama.cpp, vLLM, LM Studio, OpenAI)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from windmill import settings
from windmill.errors import ConfigError, WindmillError
from windmill.services import emoji
from windmill.services.base import ANALYZE, Info, Model, Photo, Reply, Task
from windmill.services.chat import Chat
from windmill.services.resizing import within
from windmill.settings import Settings

_LONGEST = 1024  # pixels a side: vision models see less, and bytes take time
_QUALITY = 90


def load() -> Model:
    """What the settings VISION_* name; see `described_by`."""
    return described_by(settings.load())


def described_by(chosen: Settings) -> Model:
    """The model that these settings name. Raises `ConfigError`, `UpstreamError`."""
    if not chosen.vision_model:
        raise ConfigError(f"VISION_MODEL: not set; name a vision model that {chosen.vision_url} has")
    chat = Chat(chosen.vision_url, chosen.vision_key, chosen.request_timeout)
    made = chat.made(chosen.vision_model)
    prompt = hashlib.sha256(chosen.vision_prompt.encode()).hexdigest()[:8]
    version = f"{made} prompt {prompt}".strip()
    info = Info(framework="OpenAI API", name=chosen.vision_model, version=version)
    task = Describe(chat, chosen.vision_model, chosen.vision_prompt)

    def check() -> None:
        chat.made(chosen.vision_model)

    return Model(info=info, tasks={ANALYZE: task}, check=check)


class Describe(Task[Photo, str, str | WindmillError]):
    """A question about each photo, two at once. What goes wrong with one is its output: else the engine
    would ask about the other ones again."""

    batch = 2
    limited = True

    def __init__(self, chat: Chat, model: str, prompt: str) -> None:
        self._chat, self._name, self._prompt = chat, model, prompt
        self._asking = ThreadPoolExecutor(self.batch, thread_name_prefix="vision")

    def preprocess(self, asked: Photo) -> str:
        """The photo as a JPEG in a data URI."""
        pixels, _ = within(asked.pixels, _LONGEST, cv2.INTER_AREA)
        flipped = np.ascontiguousarray(pixels[:, :, ::-1])
        encoded = cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"

    def predict(self, inputs: Sequence[str]) -> Sequence[str | WindmillError]:
        return list(self._asking.map(self._answer, inputs))

    def postprocess(self, given: str, output: str | WindmillError) -> Reply:  # noqa: ARG002 -- of a task
        if isinstance(output, WindmillError):
            raise output
        return {"predictions": [{"text": output, "emoji_mappings": emoji.mappings(output)}]}

    def _answer(self, picture: str) -> str | WindmillError:
        try:
            return self._chat.describe(self._name, self._prompt, picture)
        except WindmillError as error:
            return error
