"""The only reader of the environment and of `.env`: every setting is one field of `Settings`.

The variable of a field is its name in capitals. What it means stands in `.env.example`, where a test keeps
the two together.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from dotenv import dotenv_values

from windmill.errors import ConfigError

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_MONITORING = ("monitoring_db_host", "monitoring_db_name", "monitoring_db_user", "monitoring_db_password")


def _one_of(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": (default, *choices)})


def _number(default: float, *, least: float, most: float) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


def _secret(default: str = "") -> Any:
    return field(default=default, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked. Passwords stay out of its repr."""

    broker: str = _one_of("", "rabbitmq", "postgres")
    queue_host: str = ""
    queue_port: int = _number(5672, least=1, most=65535)
    queue_user: str = "guest"
    queue_password: str = _secret("guest")
    queue_vhost: str = "/"
    queue_ssl: bool = False
    queue_ssl_ca: str = ""
    queue_ack_timeout: float = _number(1800.0, least=180, most=604_800)

    db_host: str = "localhost"
    db_port: int = _number(5432, least=1, most=65535)
    db_name: str = "windmill"
    db_user: str = "windmill"
    db_password: str = _secret()
    db_sslmode: str = _one_of("prefer", "disable", "allow", "require", "verify-ca", "verify-full")

    service_config: Path = Path("service_config.json")
    service_name: str = ""
    worker_id: str = ""
    worker_concurrency: int = _number(4, least=1, most=256)
    worker_prefetch_count: int = _number(0, least=0, most=65535)
    request_timeout: float = _number(60.0, least=0.1, most=86_400)
    max_retries: int = _number(3, least=0, most=100)
    max_image_mb: float = _number(32.0, least=0.1, most=1024)
    max_image_megapixels: float = _number(50.0, least=0.1, most=1000)
    shutdown_grace: float = _number(20.0, least=0, most=600)

    enable_monitoring: bool = False
    monitoring_db_host: str = ""
    monitoring_db_port: int = _number(3306, least=1, most=65535)
    monitoring_db_name: str = ""
    monitoring_db_user: str = ""
    monitoring_db_password: str = _secret()
    heartbeat_interval: float = _number(30.0, least=0.1, most=3600)

    log_level: str = _one_of("INFO", "DEBUG", "WARNING", "ERROR")
    log_dir: Path = Path("logs")
    run_dir: Path = Path("run")

    def __post_init__(self) -> None:
        if self.broker == "rabbitmq" and not self.queue_host:
            raise ConfigError(
                "QUEUE_HOST: BROKER=rabbitmq needs it; set the RabbitMQ host, or BROKER=postgres"
            )
        if self.enable_monitoring:
            missing = [name.upper() for name in _MONITORING if not getattr(self, name)]
            if missing:
                raise ConfigError(f"{', '.join(missing)}: not set, and ENABLE_MONITORING=true needs them")

    @property
    def broker_kind(self) -> str:
        """`rabbitmq` or `postgres`: what BROKER says, else rabbitmq exactly when QUEUE_HOST is set."""
        return self.broker or ("rabbitmq" if self.queue_host else "postgres")

    @property
    def node(self) -> str:
        """This machine's name, as heartbeats and worker ids carry it."""
        return socket.gethostname()

    def worker_id_for(self, service: str) -> str:
        """WORKER_ID, or a name that tells the service, the node and the process."""
        return self.worker_id or f"{service}@{self.node}:{os.getpid()}"


def load(environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")) -> Settings:
    """Settings from the environment, and from `dotenv` for what the environment leaves unset.

    Raises `ConfigError` that names the variable, its value unless secret, and where it was set.
    """
    written = {key: value for key, value in dotenv_values(dotenv).items() if value is not None}
    environ = os.environ if environ is None else environ
    hints = get_type_hints(Settings)
    values = {}
    for spec in fields(Settings):
        variable = spec.name.upper()
        text = environ.get(variable, written.get(variable, ""))
        if text.strip():
            source = "the environment" if variable in environ else str(dotenv)
            values[spec.name] = _parse(variable, text, hints[spec.name], spec.metadata, source)
    return Settings(**values)


def _parse(variable: str, text: str, kind: type, limits: Mapping[str, Any], source: str) -> Any:
    try:
        value = _boolean(text) if kind is bool else kind(text)
    except ValueError as exc:
        raise ConfigError(f"{variable}={text!r} in {source}: expected {_name(kind)}") from exc
    if "choices" in limits and value not in limits["choices"]:
        choices = ", ".join(choice for choice in limits["choices"] if choice)
        raise ConfigError(f"{variable}={text!r} in {source}: expected one of {choices}")
    if "least" in limits and not limits["least"] <= value <= limits["most"]:
        span = f"{limits['least']:g} to {limits['most']:g}"
        raise ConfigError(f"{variable}={text!r} in {source}: expected {span}")
    return value


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


def _name(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, kind.__name__)
