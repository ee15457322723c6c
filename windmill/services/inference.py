"""One model in one thread, and whether it still works."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from windmill.services.base import Model, Photo, Prediction

_SUSPICIOUS = 3  # failures in a row: one can be the photo's fault
_PATIENCE = 10.0  # seconds that a suspect may take for a grey photo
_GREY = Photo(data=b"", pixels=np.full((64, 64, 3), 128, np.uint8))


class Inference:
    """Requests wait in turn for the model's one thread."""

    def __init__(self, name: str, model: Model) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._failures = 0

    @property
    def info(self) -> dict[str, str]:
        """The model's own words for `model_info`."""
        return self._model.info

    async def predict(self, photo: Photo) -> Sequence[Prediction]:
        """What the model sees; whatever it raises is raised here, and counted."""
        running = self._run(photo)
        await asyncio.wait([running])
        self._failures = 0 if running.exception() is None else self._failures + 1
        return running.result()

    async def works(self) -> bool:
        """True unless it failed several times in a row and fails on a plain grey photo too.

        Without that second look a broken service would never be found to have recovered: who believes
        `/health` sends it nothing more.
        """
        if self._failures < _SUSPICIOUS:
            return True
        running = self._run(_GREY)
        done, _ = await asyncio.wait([running], timeout=_PATIENCE)
        if not done:
            running.cancel()
            return False
        if running.exception() is None:
            self._failures = 0
        return self._failures == 0

    def _run(self, photo: Photo) -> asyncio.Future[Sequence[Prediction]]:
        return asyncio.get_running_loop().run_in_executor(self._thread, self._model.predict, photo)
