"""What the benchmarks of the pipeline stand on: real servers that wait for the disk, an instant service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image as Pictures

from bench.usage import Usage, family
from tests.servers import Postgres, RabbitMQ
from tests.servers.base import free_port
from windmill.postgres import schema
from windmill.postgres.connection import connect
from windmill.settings import Settings

QUEUES = tuple(f"bench{n}" for n in range(11))
BROKERS = ("rabbitmq", "postgres")
SERVICE = "yolov8"  # whose answers are instant


@dataclass(frozen=True, slots=True)
class Ground:
    """The servers, a photo of about 100 kB, and the port of the instant service."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    service: subprocess.Popen[bytes]
    folder: Path
    photo: Path
    port: int

    def settings(self, broker: str, **changes: object) -> Settings:
        """A fresh database, and a fresh vhost."""
        made = Settings(
            broker=broker,
            queue_host=self.rabbitmq.host,
            queue_port=self.rabbitmq.port,
            queue_vhost=self.rabbitmq.new_vhost(),
            db_host=self.postgres.host,
            db_port=self.postgres.port,
            db_name=self.postgres.new_database(),
            db_user=self.postgres.dbuser,
            service_config=self.folder / "services.json",
        )
        schema.apply(made)
        return replace(made, **changes)

    @contextmanager
    def fresh(self, broker: str, **changes: object) -> Iterator[Settings]:
        """The same for one part: what is left of earlier ones would cost the servers time in later ones."""
        made = self.settings(broker, **changes)
        try:
            yield made
        finally:
            self.postgres.drop(made.db_name)
            self.rabbitmq.delete_vhost(made.queue_vhost)

    def usage(self, workers: Mapping[str, int] | None = None) -> Usage:
        """What the servers, the service and the process trees `workers` (by name) have used so far."""
        servers = {
            "RabbitMQ": self.rabbitmq.process,
            "PostgreSQL": self.postgres.process,
            "service": self.service,
        }
        pids = {name: process.pid for name, process in servers.items() if process is not None}
        return Usage({name: family(pid) for name, pid in {**pids, **(workers or {})}.items()})

    def add_images(self, settings: Settings, count: int) -> None:
        """So many images, as ingest would note them; all are the one photo."""
        with closing(connect(settings, "bench")) as connection, connection, connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO images (image_filename, image_path, as_is)"
                " SELECT n, %s, %s FROM generate_series(1, %s) AS n",
                (str(self.photo), self.photo.stat().st_size, count),
            )


def environment(settings: Settings) -> dict[str, str]:
    """For a process of Windmill's that is to have these settings."""
    return {
        **os.environ,
        "BROKER": settings.broker,
        "QUEUE_HOST": settings.queue_host,
        "QUEUE_PORT": str(settings.queue_port),
        "QUEUE_VHOST": settings.queue_vhost,
        "DB_HOST": settings.db_host,
        "DB_PORT": str(settings.db_port),
        "DB_NAME": settings.db_name,
        "DB_USER": settings.db_user,
        "SERVICE_CONFIG": str(settings.service_config),
        "WORKER_CONCURRENCY": str(settings.worker_concurrency),
    }


@contextmanager
def ground() -> Iterator[Ground]:
    """Starts all of it, and leaves nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photo, port = folder / "photo.jpg", free_port()
        Pictures.effect_noise((420, 420), 60).convert("RGB").save(photo, quality=90)
        entries = {SERVICE: {"host": "127.0.0.1", "port": port, "triggers": []}}
        entries |= {name: {"host": "127.0.0.1", "port": 1, "triggers": []} for name in QUEUES}
        (folder / "services.json").write_text(json.dumps(entries), "utf-8")
        postgres, rabbitmq = Postgres(durable=True), RabbitMQ()
        service = subprocess.Popen([sys.executable, "-m", "bench.instant_service", str(port)])
        try:
            postgres.start()
            rabbitmq.start()
            yield Ground(postgres, rabbitmq, service, folder, photo, port)
        finally:
            service.terminate()
            service.wait(5)
            rabbitmq.remove()
            postgres.remove()
