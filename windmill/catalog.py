"""Which services exist and where: `service_config.json`, and the only place that spells a queue name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from windmill import vocabularies
from windmill.errors import ConfigError
from windmill.plain import line

CATEGORIES = ("primary", "spatial_only", "postprocessing", "index")
SERVICE_TYPES = ("spatial", "semantic", "classification", "specialized", "other")
BBOX_FORMATS = ("xywh", "xyxy")
UNKNOWN = "unknown"  # the vocabulary of whoever names none
VOCABULARIES = (*vocabularies.OF_BOXES, UNKNOWN)

_MOST_LABELS = 1000  # as many classes as a reply may have predictions; they travel with each result
_LONGEST_LABEL = 400
_LONGEST_NAME = 50  # characters: PostgreSQL listens to queues by name, and names end after 63
_HOST = re.compile(r"(?!-)[A-Za-z0-9._-]{1,253}|(?=.*:.*:)[0-9a-fA-F:.]{2,45}")
_ENDPOINT = re.compile(r"/[!-~]{0,500}")

# Workers of the pipeline's own stages; all others are services.
MERGER, VOTER, SCORER = "bbox_merger", "consensus", "caption_score"
BOX_WORKERS = {"bbox_colors": "colors", "bbox_face": "face", "bbox_pose": "pose"}  # worker: what it calls
STAGES = (MERGER, VOTER, *BOX_WORKERS, SCORER)

# Workers that put an embedding service's vectors of whole images into the index at INDEX_PREFIX.
INDEX_WORKERS = {
    "index_clip": "clip",
    "index_labels": "label_embedding",
    "index_resnet50": "resnet50",
    "index_faces": "face_embedding",
}  # worker: what it calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One entry: a service, or a worker of a stage (port 0 when it calls no service).

    `bbox_format` says what a box in list form holds: x, y, width, height or x1, y1, x2, y2 (pixels).
    `vocabulary` is the name of the one that its labels are from, or all labels that it has: what it can see.
    `triggers` are the workers that get a job once this one's result is stored.
    `timeout` is in seconds; it and `concurrency` are None where the settings decide.
    """

    name: str
    host: str = "localhost"
    port: int = 0
    endpoint: str = "/v3/analyze"
    category: str = "primary"
    service_types: tuple[str, ...] = ("other",)
    triggers: tuple[str, ...] = ()
    bbox_format: str = "xywh"
    vocabulary: str | tuple[str, ...] = UNKNOWN
    timeout: float | None = None
    concurrency: int | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.endpoint}"

    @property
    def queue(self) -> str:
        return queue(self.name)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The services that this box knows, in the order of the file."""

    services: Mapping[str, Service]
    path: Path

    def __getitem__(self, name: str) -> Service:
        """The entry. An index worker needs none of its own: it finds its service where that is listed."""
        if name in self.services:
            return self.services[name]
        if name in INDEX_WORKERS:
            called = self.stage(INDEX_WORKERS[name])
            return replace(facts(name), host=called.host, port=called.port, timeout=called.timeout)
        known = ", ".join(self.services)
        raise ConfigError(f"{name}: no such service in {self.path}; it lists {known or 'none'}")

    def stage(self, name: str) -> Service:
        """The entry, or what a service or stage of this name usually is where another box runs it."""
        return self.services.get(name) or _with_triggers(facts(name))

    def select(self, wanted: str) -> tuple[str, ...]:
        """Names for `--services`: all, primary, spatial_only, full_catalog, or a list `a,b,c`.

        `all` and `primary` leave face and pose to the boxes. `full_catalog` is every service that looks at
        an image; what only follows from results (caption_score, the stages) is never submitted, and index
        workers only by their names.
        """
        groups = {
            "all": ("primary",),
            "primary": ("primary",),
            "spatial_only": ("spatial_only",),
            "full_catalog": ("primary", "spatial_only"),
        }
        if wanted in groups:
            names = [s.name for s in self.services.values() if s.category in groups[wanted]]
        else:
            names = [self._submittable(name.strip()) for name in wanted.split(",") if name.strip()]
        if not names:
            raise ConfigError(f"--services {wanted}: {self.path} lists no such service")
        return tuple(dict.fromkeys(names))

    def _submittable(self, name: str) -> str:
        if self[name].category == "postprocessing":
            raise ConfigError(f"{name}: follows from results by itself and cannot be submitted")
        return name


def queue(service: str) -> str:
    """Name of the queue that holds jobs for `service`."""
    return "queue_bbox_merge" if service == MERGER else f"queue_{service}"


def retry_queue(service: str, step: int) -> str:
    """Name of the queue that holds failed jobs of `service` for `step` seconds."""
    return f"{queue(service)}.retry.{step}"


def dead_queue(service: str) -> str:
    """Name of the queue where the broker puts what workers of `service` died with in hand."""
    return f"{queue(service)}.dead"


def _spatial(port: int, vocabulary: vocabularies.Vocabulary = "coco") -> Service:
    return Service(name="", port=port, service_types=("spatial",), vocabulary=vocabulary)


def _other(port: int = 0, **facts: Any) -> Service:
    return Service(name="", port=port, **facts)


def _indexing(port: int) -> Service:
    return _other(port, category="index", endpoint="/embed/image")


# What a short entry may leave out. A name that is not here is a service of type "other", unless it says.
BUILT_IN: Mapping[str, Service] = {
    "blip": _other(7777, service_types=("semantic",)),
    "ollama": _other(7782, service_types=("semantic",)),
    "clip": _other(7788, service_types=("spatial", "classification")),
    "xception": _other(7799, service_types=("spatial", "classification")),
    "inception_v3": _other(7779, service_types=("spatial", "classification")),
    "colors": _other(7770),
    "metadata": _other(7781),
    "detectron2": _spatial(7771),
    "rtdetr": _spatial(7780),
    "yolov8": _spatial(7773),
    "yolo_365": _spatial(7790, "objects365"),
    "yolo_oi7": _spatial(7791, "openimages"),
    "nanodet": _spatial(7792),
    "ssdlite": _spatial(7793),
    "centernet": _spatial(7794),
    "label_embedding": _other(7797),
    "resnet50": _other(7798),
    "ocr": _other(7775, service_types=("specialized",)),
    "nsfw2": _other(7774, service_types=("specialized",)),
    "nudenet": _other(7789, service_types=("specialized",), bbox_format="xyxy"),
    "face": _other(7772, service_types=("specialized",), category="spatial_only"),
    "pose": _other(7786, service_types=("specialized",), category="spatial_only"),
    "movenet": _other(7795, service_types=("specialized",), category="spatial_only"),
    "face_embedding": _other(7796, service_types=("specialized",), category="spatial_only"),
    "caption_score": _other(7778, category="postprocessing", endpoint="/score"),
    MERGER: _other(category="postprocessing", triggers=(VOTER, *BOX_WORKERS)),
    VOTER: _other(category="postprocessing"),
    "bbox_colors": _other(7770, category="postprocessing"),
    "bbox_face": _other(7772, category="postprocessing"),
    "bbox_pose": _other(7786, category="postprocessing"),
    "index_clip": _indexing(7788),
    "index_labels": _indexing(7797),
    "index_resnet50": _indexing(7798),
    "index_faces": _indexing(7796),
}


def facts(name: str) -> Service:
    """What Windmill knows of a service by its name alone."""
    return replace(BUILT_IN.get(name, Service(name=name)), name=name)


def load(path: Path) -> Catalog:
    """The catalog in `path`. Raises `ConfigError` that names the file, the service and the key."""
    try:
        entries = json.loads(path.read_text("utf-8"), object_pairs_hook=lambda pairs: _unique(path, pairs))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot read it: {exc.strerror}; SERVICE_CONFIG names the file") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path}: not JSON: {line(exc, 200)}") from exc
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected an object, a service's name for each key")
    return Catalog({name: _service(path, name, entry) for name, entry in entries.items()}, path)


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}: {line(twice, 80)}: stands there twice")
    return entries


def _service(path: Path, name: str, entry: object) -> Service:
    plain = name.replace("_", "").replace("-", "")
    if not plain.isalnum() or not name.isascii() or len(name) > _LONGEST_NAME:
        raise ConfigError(
            f"{path}: {line(repr(name), 80)}: a service's name is letters, digits, - and _, at most 50"
        )
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: {name}: expected an object with host, port, …")
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in KEYS:
            raise ConfigError(f"{path}: {name}.{line(key, 80)}: unknown key; known are {', '.join(KEYS)}")
        field, read = KEYS[key]
        try:
            values[field] = read(value)
        except (TypeError, ValueError) as exc:
            raise ConfigError(f"{path}: {name}.{key}: {line(repr(value), 80)}: {exc}") from exc
    service = replace(facts(name), **values)
    if "triggers" not in values:
        service = _with_triggers(service)
    if service.port == 0 and name not in (MERGER, VOTER):
        raise ConfigError(f"{path}: {name}.port: missing; {name} calls a service, so say where it listens")
    return service


def _with_triggers(service: Service) -> Service:
    """Fills in what follows a service of its type, where the table does not say it."""
    if service.triggers or service.category in ("postprocessing", "index"):
        return service
    triggers = [VOTER]
    if "spatial" in service.service_types:
        triggers.insert(0, MERGER)
    if "semantic" in service.service_types:
        triggers.append(SCORER)
    return replace(service, triggers=tuple(triggers))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("expected text")
    return value


def _host(value: object) -> str:
    """A name or an address; an IPv6 address may stand in brackets."""
    host = _text(value).removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise ValueError("expected a host's name or address, in ASCII and without a port")
    return host


def _port(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 65535:
        raise ValueError("expected a port, 0 to 65535")
    return value


def _endpoint(value: object) -> str:
    if not _ENDPOINT.fullmatch(_text(value)):
        raise ValueError("expected a path that starts with /, in ASCII and without spaces")
    return str(value)


def _category(value: object) -> str:
    name = "postprocessing" if value == "post_processing" else _text(value)
    if name not in CATEGORIES:
        raise ValueError(f"expected one of {', '.join(CATEGORIES)}")
    return name


def _types(value: object) -> tuple[str, ...]:
    names = tuple(_text(item) for item in (value if isinstance(value, list) else [value]))
    if not names or not set(names) <= set(SERVICE_TYPES):
        raise ValueError(f"expected one or a list of {', '.join(SERVICE_TYPES)}")
    return names


def _triggers(value: object) -> tuple[str, ...]:
    names = tuple(_text(item) for item in value) if isinstance(value, list) else ("",)
    if not set(names) <= set(STAGES):
        raise ValueError(f"expected a list of {', '.join(STAGES)}")
    return names


def _bbox_format(value: object) -> str:
    if value not in BBOX_FORMATS:
        raise ValueError(f"expected one of {', '.join(BBOX_FORMATS)}")
    return str(value)


def _label(value: object) -> str:
    if not _text(value).isprintable() or len(str(value)) > _LONGEST_LABEL:
        raise ValueError(f"expected labels of printable characters, at most {_LONGEST_LABEL}")
    return str(value)


def _vocabulary(value: object) -> str | tuple[str, ...]:
    if isinstance(value, list) and 0 < len(value) <= _MOST_LABELS:
        return tuple(_label(item) for item in value)
    if value not in VOCABULARIES:
        raise ValueError(
            f"expected one of {', '.join(VOCABULARIES)}, or a list of labels, at most {_MOST_LABELS}"
        )
    return str(value)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 86_400:
        raise ValueError("expected seconds, more than 0 and at most 86400")
    return float(value)


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value <= 256:
        raise ValueError("expected a whole number from 1 to 256")
    return value


KEYS: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "host": ("host", _host),
    "port": ("port", _port),
    "endpoint": ("endpoint", _endpoint),
    "category": ("category", _category),
    "service_type": ("service_types", _types),
    "triggers": ("triggers", _triggers),
    "bbox_format": ("bbox_format", _bbox_format),
    "vocabulary": ("vocabulary", _vocabulary),
    "timeout": ("timeout", _seconds),
    "concurrency": ("concurrency", _count),
}
