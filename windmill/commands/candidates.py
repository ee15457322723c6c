"""The services that are to be measured: those of this process, and those at an address."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from windmill.commands.services import located
from windmill.errors import ConfigError
from windmill.extras import needs
from windmill.settings import Settings

with needs("services,eval"):
    from windmill.evaluating.asking import Local, Remote
    from windmill.evaluating.table import Candidate
    from windmill.services import registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--services", metavar="A,B", help="these reference services (default: all, or none with --url)"
    )
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="what answers there, as the service NAME; may be repeated",
    )


def chosen(args: argparse.Namespace, settings: Settings) -> list[Candidate]:
    """What `--services` and `--url` name. Raises `ConfigError`."""
    return [*_remote(args.url, settings), *_local(args.services, bool(args.url))]


def _local(names: str | None, others: bool) -> list[Candidate]:
    """Raises `ConfigError`."""
    if names is None:
        wanted = [] if others else list(registry.SERVICES)
    else:
        wanted = [registry.known(name.strip()) for name in names.split(",") if name.strip()]
    return [Candidate(name, partial(Local, name)) for name in dict.fromkeys(wanted)]


def _remote(words: Sequence[str], settings: Settings) -> list[Candidate]:
    """Raises `ConfigError`."""
    found = []
    for word in words:
        name, separator, url = word.partition("=")
        if not separator:
            raise ConfigError(f"--url {word}: expected NAME=URL")
        service = located(url, name, settings)
        most = round(settings.max_reply_mb * 2**20)
        timeout = service.timeout or settings.request_timeout
        found.append(Candidate(f"{name} at {url}", partial(Remote, service, timeout, most)))
    return found
