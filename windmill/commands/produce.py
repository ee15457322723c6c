"""`windmill produce`: images to the queues of the services."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from windmill import wiring
from windmill.catalog import Catalog
from windmill.errors import BrokerError, ConfigError, StoreError
from windmill.model import Missing, Selection
from windmill.plain import line
from windmill.ports import Ledger
from windmill.producing import Pace, Producer, Sent, counts, summary, unit_of
from windmill.progress import meter, plain
from windmill.settings import Settings

HELP = """\
Sends images to the queues of the services, one message an image however many services it goes to.

  producer.py --services all --group coco2017       everything but face and pose, which work on boxes
  producer.py --services yolov8,rtdetr --limit 100  two services, the first 100 images that lack one
  producer.py --services full_catalog               every service that looks at images
  producer.py --list-services                       what service_config.json lists

A run goes on where the last one stopped: an image is sent to exactly those services that were never asked
about it. --no-resume sends everything again; results are then replaced. Several producers at once take turns.
It holds while a queue has MAX_QUEUE_DEPTH jobs or the broker is short of disk or memory. Ctrl-C ends after
the images in hand, a second one at once.
Exit status: 0 sent, or nothing to send; 1 the broker stayed away; 2 wrong settings; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--services",
        default="all",
        metavar="WHICH",
        help="all, primary, spatial_only, full_catalog, or names a,b,c (default: all)",
    )
    parser.add_argument("--group", metavar="NAME", help="only images of this group")
    parser.add_argument("--limit", type=count_of, metavar="N", help="at most N images that lack something")
    parser.add_argument("--delay", type=_seconds, default=0.0, metavar="S", help="seconds between two images")
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True, help="only what is missing"
    )
    parser.add_argument("--list-services", action="store_true", help="list the services and exit")
    parser.add_argument("--json", action="store_true", help="the summary, or the list, as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalog = wiring.services(settings)
    if args.list_services:
        return _list(catalog, as_json=args.json)
    wanted = Missing(
        services=catalog.select(args.services or "primary"), group=args.group, resume=args.resume
    )
    with wiring.ledger(settings) as ledger:
        groups = check_group(ledger, args.group)
        sent = Sent()
        with interruptible() as stop:
            total = ledger.count_images(wanted, args.limit)
            if total:
                pace = Pace(max_queue_depth=settings.max_queue_depth, limit=args.limit, delay=args.delay)
                sent = send(wanted, ledger, settings, pace, stop, total)
    if args.json:
        sys.stdout.write(json.dumps({"images": sent.dispatches, "services": sent.services}) + "\n")
    elif sent.dispatches or not stop.is_set():
        sys.stdout.write(summary(sent, wanted, groups) + "\n")
    if stop.is_set() and sent.dispatches < total:
        sys.stderr.write(f"interrupted; {_how_to_go_on(args, sent)}\n")
        return 130
    return 0


def check_group(ledger: Ledger, group: str | None) -> Mapping[str, int]:
    """The groups that there are. Raises `ConfigError` when `group` is none of them."""
    groups = ledger.groups()
    if group is not None and groups and group not in groups:
        known = ", ".join(f"{name} ({count:,})" for name, count in groups.items())
        raise ConfigError(f"there is no image group {group!r}; there are {known}")
    return groups


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second does what it always does."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def first(*_: object) -> None:
        stop.set()
        restore()

    for number in numbers:
        signal.signal(number, first)
    try:
        yield stop
    finally:
        restore()


def send(
    selection: Selection, ledger: Ledger, settings: Settings, pace: Pace, stop: threading.Event, total: int
) -> Sent:
    """Sends a selection with a meter that goes up to `total`; should that fail, says how far it came."""
    counted = unit_of(selection)
    with wiring.publisher(settings) as broker, meter("sending", counted, total) as progress:
        producer = Producer(selection, ledger, broker, pace, stop)
        try:
            return producer.run(progress)
        except (BrokerError, StoreError, KeyboardInterrupt):
            if producer.sent.dispatches:
                sys.stderr.write(f"cut short after {counts(producer.sent, counted)}\n")
            raise


def _how_to_go_on(args: argparse.Namespace, sent: Sent) -> str:
    if not args.resume:
        return "what was not sent again keeps its results; the same command starts from the first image"
    words = ["windmill", "produce", "--services", args.services]
    words += ["--group", args.group] if args.group is not None else []
    words += ["--limit", str(args.limit - sent.dispatches)] if args.limit else []
    words += ["--delay", f"{args.delay:g}"] if args.delay else []
    return f"go on with: {line(shlex.join(words))}"


def _list(catalog: Catalog, *, as_json: bool) -> int:
    rows = [
        {
            "name": service.name,
            "category": service.category,
            "types": list(service.service_types),
            "address": f"{service.host}:{service.port}" if service.port else "",
            "queue": service.queue,
        }
        for service in catalog.services.values()
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return 0
    table = Table(title=plain(catalog.path), title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(plain(", ".join(v) if isinstance(v, list) else v) for v in row.values()))
    Console().print(table)
    return 0


def count_of(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 86_400:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds, 0 or more and less than a day")
    return number
