"""What all cases share: the servers, the fake services, the photos, the catalog."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pika.exceptions

from chaos import photos
from chaos.answers import Picture
from tests.servers import MariaDB, Postgres, RabbitMQ
from tests.servers.base import free_port
from tests.waiting import until
from windmill.lifeline import VARIABLE
from windmill.rabbitmq import topology

ROOT = Path(__file__).parents[1]
RABBITMQ, POSTGRES = "rabbitmq", "postgres"
BROKERS = (RABBITMQ, POSTGRES)
ASKED = ("yolov8", "rtdetr", "clip", "blip", "ocr", "colors")  # for whole images
ON_BOXES = {"bbox_colors": "colors", "bbox_face": "face", "bbox_pose": "pose"}
SERVICES = (*ASKED, "face", "pose", "caption_score")
WORKERS = (*ASKED, "caption_score", "bbox_merger", "consensus", *ON_BOXES)


class Site:
    """Servers that live as long as the harness, each started when a case first wants it."""

    def __init__(self, folder: Path, images: int, stack: ExitStack) -> None:
        self.folder = folder
        self.images = images
        self.catalog = folder / "services.json"
        self.postgres = stack.enter_context(Postgres(durable=True))
        self._stack = stack
        self._rabbitmq: RabbitMQ | None = None
        self._mariadb: MariaDB | None = None
        self._control = free_port()
        photos.make(folder / "photos", images)
        stack.enter_context(self._serving())

    @property
    def rabbitmq(self) -> RabbitMQ:
        if self._rabbitmq is None:
            self._rabbitmq = self._stack.enter_context(RabbitMQ())
        return self._rabbitmq

    @property
    def mariadb(self) -> MariaDB:
        if self._mariadb is None:
            self._mariadb = self._stack.enter_context(MariaDB())
        return self._mariadb

    def versions(self) -> str:
        """Of the servers that ran."""
        servers = [("RabbitMQ", self._rabbitmq), ("PostgreSQL", self.postgres), ("MariaDB", self._mariadb)]
        return ", ".join(f"{name} {server.version()}" for name, server in servers if server is not None)

    def tell(self, **order: Any) -> None:
        """Has the fake services behave otherwise; see `chaos.services`."""
        self._ask("POST", json.dumps(order))

    def calls(self) -> dict[str, dict[str, int]]:
        """How often each service was sent each image."""
        return {name: said["calls"] for name, said in self._ask("GET", None).items()}

    def busy(self, service: str) -> bool:
        """Whether a call to it is under way."""
        return bool(self._ask("GET", None)[service]["busy"])

    def repeated_calls(self) -> int:
        """Calls about whole photos beyond one for each service: what at-least-once costs."""
        files = (self.folder / "photos").rglob("*.jpg")
        names = {Picture(file.read_bytes()).name for file in files}
        calls = self.calls()
        return sum(calls[service].get(name, 1) - 1 for service in ASKED for name in names)

    def _ask(self, method: str, body: str | None) -> Any:
        with closing(http.client.HTTPConnection("127.0.0.1", self._control, timeout=10)) as connection:
            connection.request(method, "/", body)
            return json.load(connection.getresponse())

    @contextmanager
    def _serving(self) -> Iterator[None]:
        ports = {name: free_port() for name in SERVICES}
        entries: dict[str, dict[str, Any]] = {
            name: {"host": "127.0.0.1", "port": port} for name, port in ports.items()
        }
        entries |= {worker: entries[service] for worker, service in ON_BOXES.items()}
        entries |= {"bbox_merger": {}, "consensus": {}}
        self.catalog.write_text(json.dumps({name: entries[name] for name in WORKERS}), "utf-8")
        theirs, ours = os.pipe()
        words = [str(self._control), *(f"{name}={port}" for name, port in ports.items())]
        log = self.folder / "services.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "chaos.services", *words],
                cwd=ROOT, stdout=file, stderr=file, pass_fds=(theirs,), start_new_session=True,
                env={**os.environ, VARIABLE: str(theirs)},
            )  # fmt: skip
        try:
            until(self._answers, 20, lambda: process.poll() is None, log)
            yield
        finally:
            process.kill()
            process.wait()
            os.close(theirs)
            os.close(ours)

    def _answers(self) -> bool:
        try:
            self.calls()
        except OSError:
            return False
        return True


@contextmanager
def opened(images: int) -> Iterator[Site]:
    """A site, and nothing of it left at the end."""
    folder = Path(tempfile.mkdtemp(prefix="windmill-chaos-"))
    try:
        with ExitStack() as stack:
            yield Site(folder, images, stack)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def waiting(server: RabbitMQ, vhost: str, workers: Iterable[str]) -> dict[str, int]:
    """Messages that wait in each queue, but not those in a worker's hands. Raises pika's errors."""
    found = {}
    with closing(server.connect(vhost)) as connection:
        channel = connection.channel()
        for queue in (queue for worker in workers for queue in topology.queues(worker)):
            try:
                found[queue] = channel.queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker:  # nobody has declared it
                channel = connection.channel()
    return {queue: count for queue, count in found.items() if count}
