"""`windmill serve`: the reference services, from the extra `[services]`."""

from __future__ import annotations

import argparse

from windmill.errors import ConfigError
from windmill.settings import Settings

try:
    from windmill.services import command
except ModuleNotFoundError as exc:
    raise ConfigError(f"{exc.name} is missing: pip install 'windmill-images[services]'") from exc

HELP = command.HELP
add_arguments = command.add_arguments


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- a command's signature
    return command.run(args)
