"""PyTorch and what stands on it: imported by those who need it, and where it computes."""

from __future__ import annotations

import importlib
from typing import Any

from windmill.extras import needs


def library(name: str) -> Any:
    """A module of the extra `torch`. Raises `ConfigError` that says what to install.

    It takes seconds and hundreds of megabytes: only a model that is loaded asks for it.
    """
    with needs("torch"):
        return importlib.import_module(name)


def transformers() -> Any:
    """The library, without a progress bar for each model that it reads."""
    found = library("transformers")
    found.utils.logging.disable_progress_bar()
    return found


def device() -> str:
    """Where models compute: on CUDA where PyTorch finds it, else on the CPU."""
    return "cuda" if library("torch").cuda.is_available() else "cpu"
