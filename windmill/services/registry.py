"""The reference services: name → model, loaded when asked for. Adding one is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from windmill import catalog
from windmill.errors import ConfigError
from windmill.services.base import Model

# name: (module, class)
MODELS: Mapping[str, tuple[str, str]] = {
    "colors": ("colors", "Colors"),
    "metadata": ("metadata", "Metadata"),
    "face": ("face", "YuNet"),
    "nanodet": ("nanodet", "NanoDet"),
    "ssdlite": ("ssdlite", "SSDLite"),
    "centernet": ("centernet", "CenterNet"),
}


def known(name: str) -> str:
    """`name`, if there is such a service. Raises `ConfigError`."""
    if name not in MODELS:
        raise ConfigError(f"{name}: no reference service of that name; there are {', '.join(MODELS)}")
    return name


def load(name: str) -> Model:
    """A loaded model. Raises `ConfigError`."""
    module, kind = MODELS[known(name)]
    model: Model = getattr(importlib.import_module(f"windmill.services.{module}"), kind)()
    return model


def port(name: str) -> int:
    """Where the service listens unless told otherwise."""
    return catalog.facts(known(name)).port
