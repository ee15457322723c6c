"""The only reader of the environment and of `.env`: every setting is one field of `Settings`.

The variable of a field is its name in capitals. What it means stands in `.env.example`, where a test keeps
the two together.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from dotenv import dotenv_values

from windmill.errors import ConfigError

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}
_MONITORING = ("monitoring_db_host", "monitoring_db_name", "monitoring_db_user", "monitoring_db_password")


def _one_of(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"choices": (default, *choices)})


def _number(default: float, *, least: float, most: float) -> Any:
    return field(default=default, metadata={"least": least, "most": most})


def _several(separators: str = ",") -> Any:
    return field(default=(), metadata={"separators": separators})


def _secret(default: str = "") -> Any:
    return field(default=default, repr=False)


def _secrets() -> Any:
    return field(default=(), repr=False, metadata={"separators": ","})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What the settings say about one connection's TLS; a path that is not set is empty.

    `names` has the variables of `ca`, `cert` and `key`, `switch` the one that asks for TLS, and `host` the
    one with the server's name: messages name them.
    """

    wanted: bool  # encrypted, or no connection
    verified: bool  # and only to a server that shows a certificate of this CA, for this name
    ca: str
    cert: str
    key: str
    names: tuple[str, str, str]
    switch: str
    remedy: str  # what `switch` must be for verification
    host: str

    def check(self) -> None:
        """Raises `ConfigError` where a file is set that would not be used: plain text must not look safe."""
        ca, cert, key = self.names
        if bool(self.cert) != bool(self.key):
            raise ConfigError(f"{cert}, {key}: set both or neither (one file may hold both)")
        if self.ca and not self.verified:
            raise ConfigError(f"{ca}: set, but nothing is verified; set {self.switch}={self.remedy} too")
        if self.cert and not self.wanted:
            raise ConfigError(f"{cert}: set, but TLS is not asked for; set {self.switch}={self.remedy} too")


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
    queue_ssl_cert: str = ""
    queue_ssl_key: str = ""
    queue_ack_timeout: float = _number(1800.0, least=180, most=604_800)

    db_host: str = "localhost"
    db_port: int = _number(5432, least=1, most=65535)
    db_name: str = "windmill"
    db_user: str = "windmill"
    db_password: str = _secret()
    db_sslmode: str = _one_of("prefer", "disable", "allow", "require", "verify-ca", "verify-full")
    db_sslrootcert: str = ""
    db_sslcert: str = ""
    db_sslkey: str = ""
    db_synchronous_commit: str = _one_of("on", "off")

    max_queue_depth: int = _number(100_000, least=1, most=1_000_000_000)

    consensus_algorithm: str = _one_of("v3", "calibrated")
    calibration: Path = Path()

    service_config: Path = Path("service_config.json")
    index_prefix: str = "windmill-index/images"
    milvus_token: str = _secret()
    index_segment_size: int = _number(1000, least=1, most=10_000)
    index_segment_seconds: float = _number(10.0, least=0.01, most=300)
    worker_batch_size: int = _number(16, least=1, most=1024)
    service_name: str = ""
    worker_id: str = ""
    worker_concurrency: int = _number(4, least=1, most=256)
    worker_prefetch_count: int = _number(0, least=0, most=65535)
    request_timeout: float = _number(60.0, least=0.1, most=86_400)
    max_reply_mb: float = _number(32.0, least=0.01, most=1024)
    max_retries: int = _number(3, least=0, most=100)
    max_image_mb: float = _number(32.0, least=0.1, most=1024)
    max_image_megapixels: float = _number(50.0, least=0.1, most=1000)
    image_roots: tuple[Path, ...] = _several(f",{os.pathsep}")
    allow_private_urls: tuple[str, ...] = _several()
    shutdown_grace: float = _number(20.0, least=0, most=600)

    web_token: str = _secret()
    web_tokens: tuple[str, ...] = _secrets()

    enable_monitoring: bool = False
    monitoring_db_host: str = ""
    monitoring_db_port: int = _number(3306, least=1, most=65535)
    monitoring_db_name: str = ""
    monitoring_db_user: str = ""
    monitoring_db_password: str = _secret()
    monitoring_db_ssl: bool = False
    monitoring_db_ssl_ca: str = ""
    monitoring_db_ssl_cert: str = ""
    monitoring_db_ssl_key: str = ""
    heartbeat_interval: float = _number(30.0, least=0.1, most=3600)

    vision_url: str = "http://localhost:11434"
    vision_model: str = ""
    vision_key: str = _secret()
    vision_prompt: str = (
        "Describe this photo in one or two plain sentences: what is to be seen, and what happens."
    )

    log_level: str = _one_of("INFO", "DEBUG", "WARNING", "ERROR")
    log_dir: Path = Path("logs")
    run_dir: Path = Path("run")

    def __post_init__(self) -> None:
        if self.broker == "rabbitmq" and not self.queue_host:
            raise ConfigError(
                "QUEUE_HOST: BROKER=rabbitmq needs it; set the RabbitMQ host, or BROKER=postgres"
            )
        self._check_lists()
        if self.enable_monitoring:
            missing = [name.upper() for name in _MONITORING if not getattr(self, name)]
            if missing:
                raise ConfigError(f"{', '.join(missing)}: not set, and ENABLE_MONITORING=true needs them")
        for tls in (self.queue_tls, self.db_tls, self.monitoring_db_tls):
            tls.check()

    def _check_lists(self) -> None:
        for root in self.image_roots:
            if not root.is_absolute():
                raise ConfigError(f"IMAGE_ROOTS: {root} is no absolute path")
        for entry in self.allow_private_urls:
            if {"/", ":"} & set(entry) and not _is_network(entry):
                expected = "expected a host name, an IP address or a network like 10.0.0.0/8"
                raise ConfigError(f"ALLOW_PRIVATE_URLS: {entry!r}: {expected}")

    @property
    def broker_kind(self) -> str:
        """`rabbitmq` or `postgres`: what BROKER says, else rabbitmq exactly when QUEUE_HOST is set."""
        return self.broker or ("rabbitmq" if self.queue_host else "postgres")

    @property
    def calibration_file(self) -> Path | None:
        """What CALIBRATION names; None where it names nothing, and what ships is meant."""
        return None if self.calibration == Path() else self.calibration

    @property
    def queue_tls(self) -> Tls:
        """TLS to RabbitMQ."""
        return self._switched_tls("queue", on=self.queue_ssl)

    @property
    def monitoring_db_tls(self) -> Tls:
        """TLS to MySQL."""
        return self._switched_tls("monitoring_db", on=self.monitoring_db_ssl)

    @property
    def db_tls(self) -> Tls:
        """TLS to PostgreSQL, in libpq's words."""
        return Tls(
            wanted=self.db_sslmode in ("require", "verify-ca", "verify-full"),
            verified=self.db_sslmode in ("verify-ca", "verify-full"),
            ca=self.db_sslrootcert,
            cert=self.db_sslcert,
            key=self.db_sslkey,
            names=("DB_SSLROOTCERT", "DB_SSLCERT", "DB_SSLKEY"),
            switch="DB_SSLMODE",
            remedy="verify-full",
            host="DB_HOST",
        )

    def _switched_tls(self, prefix: str, *, on: bool) -> Tls:
        fields = [f"{prefix}_ssl_{name}" for name in ("ca", "cert", "key")]
        ca, cert, key = (getattr(self, field) for field in fields)
        names = (fields[0].upper(), fields[1].upper(), fields[2].upper())
        switch, host = f"{prefix}_ssl".upper(), f"{prefix}_host".upper()
        return Tls(
            wanted=on, verified=on, ca=ca, cert=cert, key=key,
            names=names, switch=switch, remedy="true", host=host,
        )  # fmt: skip

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
    # A password may hold "${": nothing in the file stands for something else.
    found = dotenv_values(dotenv, interpolate=False)
    written = {key: value for key, value in found.items() if value is not None}
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
    if not _is_text(text):
        raise ConfigError(f"{variable} in {source}: not UTF-8")  # whatever it is, it may be a password
    try:
        value = _value(text, kind, limits)
    except ValueError as exc:
        raise ConfigError(f"{variable}={text!r} in {source}: expected {_name(kind)}") from exc
    if "choices" in limits and value not in limits["choices"]:
        choices = ", ".join(choice for choice in limits["choices"] if choice)
        raise ConfigError(f"{variable}={text!r} in {source}: expected one of {choices}")
    if "least" in limits and not limits["least"] <= value <= limits["most"]:
        span = f"{limits['least']:g} to {limits['most']:g}"
        raise ConfigError(f"{variable}={text!r} in {source}: expected {span}")
    return value


def _value(text: str, kind: type, limits: Mapping[str, Any]) -> Any:
    if "separators" in limits:
        words = (word.strip() for word in re.split(f"[{limits['separators']}]", text))
        return tuple(get_args(kind)[0](word) for word in words if word)
    return _boolean(text) if kind is bool else kind(text)


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_text(text: str) -> bool:
    """Whether it is without the halves of characters that stand for bytes which are not UTF-8."""
    return text.encode("utf-8", "replace").decode() == text


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(word)
    return word in _TRUE


def _name(kind: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, kind.__name__)
