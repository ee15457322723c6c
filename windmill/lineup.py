"""Who takes part in `windmill run`: all services that need nothing brought, and captioners that are here."""

from __future__ import annotations

import json
import socket
from collections.abc import Collection, Mapping
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from windmill import catalog

Entries = dict[str, dict[str, Any]]  # as in service_config.json

SEARCHER = "label_embedding"  # in whose space photos are found by words

# What joins once its weights and its libraries are here: a captioner, and who scores its captions.
_TORCH = ("torch", "transformers", "sentence_transformers")
CAPTIONER, SCORER_WEIGHTS = "blip", "clip"


def entries(weights: Collection[str]) -> Entries:
    """A catalog on free ports of loopback; `weights` are the models that were pulled or brought."""
    chosen: Entries = json.loads(files("windmill").joinpath("demo_services.json").read_text("utf-8"))
    if not all(map(find_spec, _TORCH)):
        weights = ()
    if SCORER_WEIGHTS in weights:
        chosen["clip"] = {"port": catalog.facts("clip").port}
    if CAPTIONER in weights:
        scored = SCORER_WEIGHTS in weights
        triggers = [catalog.VOTER, *([catalog.SCORER] if scored else [])]
        chosen[CAPTIONER] = {"port": catalog.facts(CAPTIONER).port, "triggers": triggers}
        if scored:
            chosen[catalog.SCORER] = {"port": catalog.facts(catalog.SCORER).port}
    return _with_free_ports(chosen)


def submitted(chosen: Entries) -> tuple[str, ...]:
    """Services that look at whole photos."""
    return tuple(
        name
        for name, entry in chosen.items()
        if entry.get("category", catalog.facts(name).category) == "primary"
    )


def served(chosen: Entries) -> Mapping[str, int]:
    """Port by service: all that look, and whoever scores captions."""
    callers = set(catalog.BOX_WORKERS)
    return {name: entry["port"] for name, entry in chosen.items() if "port" in entry and name not in callers}


def _with_free_ports(chosen: Entries) -> Entries:
    """The catalog with each port replaced by a free one, the same for entries that share it."""
    ports = {entry["port"] for entry in chosen.values() if "port" in entry}
    sockets = {port: socket.create_server(("127.0.0.1", 0)) for port in ports}
    free = {port: bound.getsockname()[1] for port, bound in sockets.items()}
    for bound in sockets.values():
        bound.close()
    return {
        name: entry | ({"host": "127.0.0.1", "port": free[entry["port"]]} if "port" in entry else {})
        for name, entry in chosen.items()
    }
