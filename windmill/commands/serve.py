"""`windmill serve`: the reference services, from the extra `[services]`."""

from __future__ import annotations

import argparse

from windmill.extras import needs
from windmill.settings import Settings

with needs("services"):
    from windmill.services import command

HELP = command.HELP
add_arguments = command.add_arguments


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 -- a command's signature
    return command.run(args)
