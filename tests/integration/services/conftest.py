"""One `windmill serve` with every service; a model loads when the first test asks for it."""

import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest
import requests

from tests.servers.base import free_port
from tests.waiting import until
from windmill import catalog
from windmill.checking import pictures
from windmill.checking.calling import HttpCaller
from windmill.checking.target import Target
from windmill.services import registry, weights

FETCHING = 300.0  # seconds: the first run fetches the models
PHOTO = pictures.Photo(pictures.drawn())
PACKAGES = ("npm", "pypi")
ELSEWHERE = ("ollama",)  # what only asks another server


@dataclass(frozen=True)
class Served:
    """The process, and where each service listens."""

    pid: int
    ports: dict
    asked: dict = field(default_factory=dict)  # service: the first answer's status and words

    def target(self, name, *, clients=8, timeout=60.0):
        """The service, which answers; skips the test where nobody could get its weights."""
        entry = replace(catalog.facts(name), host="127.0.0.1", port=self.ports[name])
        self.ready(name, entry)
        call = HttpCaller(entry, timeout=timeout, most=2**25, clients=clients)
        return Target(service=entry, call=call, photo=PHOTO, clients=clients)

    def port(self, name):
        return self.target(name).service.port

    def ready(self, name, entry):
        if name not in self.asked:
            call = HttpCaller(entry, timeout=FETCHING, most=2**25, clients=1)
            answer = Target(service=entry, call=call, photo=PHOTO).seen
            self.asked[name] = (answer.status, str(answer))
        status, said = self.asked[name]
        if status == 503 and not is_packaged(name):
            pytest.skip(f"{name}: {said}")
        assert status == 200, said


def is_packaged(name):
    """Whether all that it needs comes from registries of packages, which every machine with tests reaches."""
    known, needed = weights.manifest(), registry.SERVICES[name].weights
    return name not in ELSEWHERE and all(known[one].source.kind in PACKAGES for one in needed)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    ports = {name: free_port() for name in registry.SERVICES}
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "windmill", "serve", "--lazy", *(f"{n}={p}" for n, p in ports.items())]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        last = [*ports.values()][-1]
        until(lambda: is_up(last), 120, lambda: process.poll() is None, log)
        yield Served(process.pid, ports)
    finally:
        process.terminate()
        assert process.wait(60) == 0


def is_up(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=60).ok
    except requests.ConnectionError:
        return False
