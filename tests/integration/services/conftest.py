"""Every service, each from the moment when the first test asks for it."""

import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import pytest
import requests
import skimage
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

from tests import made_services
from tests.serving import serving
from tests.waiting import until
from windmill import catalog
from windmill.checking import pictures
from windmill.checking.calling import HttpCaller
from windmill.checking.target import Target
from windmill.services import registry, weights

FETCHING = 200.0  # seconds: the first run fetches the models
SEE_PEOPLE = ("pose", "movenet")  # to them, what is drawn is nobody


def packaged(name):
    """Whether any registry of packages has all that the service needs."""
    entry = registry.SERVICES[name]
    return not entry.elsewhere and all(weights.packaged(one) for one in entry.weights)


class Served:
    """One `windmill serve` with all that packages bring, and beside it what tests make; each starts late."""

    def __init__(self, stack, folder):
        self._stack, self._folder = stack, folder
        self._made, self._targets = {}, {}

    def target(self, name, clients=4):
        """The service, which answers; the same one each time, as it keeps its first reply."""
        if (name, clients) not in self._targets:
            port = self._ports[name] if packaged(name) else self._made_here(name)
            entry = replace(catalog.facts(name), host="127.0.0.1", port=port)
            call = HttpCaller(entry, timeout=FETCHING, most=2**25)
            target = Target(service=entry, call=call, photo=photo_for(name), clients=clients)
            assert target.seen.status == 200, str(target.seen)
            self._targets[name, clients] = target
        return self._targets[name, clients]

    def port(self, name):
        return self.target(name).service.port

    @property
    def pid(self):
        """Of the process that serves what packages bring."""
        return self._process.pid

    def _made_here(self, name):
        if name not in self._made:
            app = made_services.app(name, self._folder / "made", self._stack)
            self._made[name] = self._stack.enter_context(serving(app))
        return self._made[name]

    @cached_property
    def _process(self):
        names = [f"{name}=0" for name in registry.SERVICES if packaged(name)]
        command = [sys.executable, "-m", "windmill", "serve", "--lazy", *names]
        with self._log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        self._stack.callback(_stopped, process)
        return process

    @property
    def _log(self):
        return self._folder / "log.txt"

    @cached_property
    def _ports(self):
        names = [name for name in registry.SERVICES if packaged(name)]
        process = self._process
        until(lambda: len(told(self._log)) == len(names), 60, lambda: process.poll() is None, self._log)
        ports = told(self._log)
        until(lambda: is_up(ports[names[-1]]), 60, lambda: process.poll() is None, self._log)
        return ports


def _stopped(process):
    process.terminate()
    assert process.wait(60) == 0


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


@cache
def drawn():
    return pictures.Photo(pictures.drawn())


@cache
def somebody():
    """A photo of a person."""
    with Pictures.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as picture:
        return pictures.Photo(picture.convert("RGB").resize((256, 256)))


@cache
def line_of_text():
    """A strip, as reading takes a second for each megapixel that a photo is brought to."""
    picture = Pictures.new("RGB", (480, 48), "white")
    font = ImageFont.load_default(36)
    ImageDraw.Draw(picture).text((20, 24), "PIZZA TO GO", font=font, fill="black", anchor="lm")
    return pictures.Photo(picture)


def photo_for(name):
    if name == "ocr":
        return line_of_text()
    return somebody() if name in SEE_PEOPLE else drawn()


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "made").mkdir()
    with ExitStack() as stack:
        yield Served(stack, folder)
