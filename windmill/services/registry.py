"""The reference services: name → model, loaded when asked for. Adding one is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from windmill import catalog
from windmill.errors import ConfigError
from windmill.services import weights
from windmill.services.base import ANALYZE, Model, Photo


@dataclass(frozen=True, slots=True)
class Entry:
    """A service: the module whose `load(*weights)` gives its `Model`, the weights' names in the manifest, and
    what it can be asked, by path."""

    module: str
    weights: tuple[str, ...] = ()
    asks: Mapping[str, type] = field(default_factory=lambda: {ANALYZE: Photo})


SERVICES: Mapping[str, Entry] = {
    "colors": Entry("colors"),
    "metadata": Entry("metadata"),
    "face": Entry("face", ("face",)),
    "nanodet": Entry("nanodet", ("nanodet",)),
    "ssdlite": Entry("ssdlite", ("ssdlite",)),
    "centernet": Entry("centernet", ("centernet",)),
}


def known(name: str) -> str:
    """`name`, if there is such a service. Raises `ConfigError`."""
    if name not in SERVICES:
        raise ConfigError(f"{name}: no reference service of that name; there are {', '.join(SERVICES)}")
    return name


def load(name: str) -> Model:
    """A loaded model. Raises `ConfigError`."""
    entry = SERVICES[known(name)]
    loading: Callable[..., Model] = importlib.import_module(f"windmill.services.{entry.module}").load
    return loading(*(weights.fetch(one) for one in entry.weights))


def port(name: str) -> int:
    """Where the service listens unless told otherwise."""
    return catalog.facts(known(name)).port
