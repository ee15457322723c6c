"""What the commands about one image have in common: which image, and in which database."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from windmill import wiring
from windmill.children import Children
from windmill.embedded import existing
from windmill.errors import ConfigError
from windmill.explaining import Case, Inquiry
from windmill.ports import Histories
from windmill.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="number, path, address or file name")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="ask the database in the folder that `windmill run` or `windmill demo` filled",
    )


@contextmanager
def database(args: argparse.Namespace, settings: Settings) -> Iterator[Settings]:
    """The settings of the database to ask: that of the environment, or of --data."""
    if args.data is None:
        yield settings
        return
    with Children() as children, existing(args.data, settings, children) as own:
        yield own


def image_id(name: str, histories: Histories) -> int:
    """The number of the image that is called `name`. Raises `ConfigError`."""
    return _only(name, histories.find(name) or histories.find(str(Path(name).absolute())))


def inquiry(case: Case, settings: Settings) -> Inquiry:
    """Asks why, by the calibration of the settings. Raises `ConfigError`."""
    return Inquiry(case=case, services=wiring.services(settings), detectors=wiring.detectors(settings))


def further(args: argparse.Namespace, number: int, count: int, draws: str) -> str:
    """What to ask next about an image with `count` boxes, as it is typed."""
    where = f"{number} --data {shlex.quote(str(args.data))}" if args.data else str(number)
    if not count:
        return f"windmill why {where} --near X,Y says what was seen at a point"
    return f"windmill why {where} --box N says why one stands; windmill show {where}{draws}"


def _only(name: str, found: Sequence[int]) -> int:
    if not found:
        raise ConfigError(f"{name}: no image has this number, path, address or file name")
    if len(found) > 1 and str(found[0]) != name:
        some = ", ".join(map(str, found[:10])) + (", …" if len(found) > 10 else "")
        raise ConfigError(f"{name}: several images are called that; say which: {some}")
    return found[0]
