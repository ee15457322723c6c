"""`windmill produce`: images to the queues of the services."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading

from rich.console import Console
from rich.table import Table

from windmill import wiring
from windmill.catalog import Catalog
from windmill.errors import ConfigError
from windmill.ports import DispatchLedger
from windmill.producing import Sent, Wanted, produce, summary
from windmill.progress import meter, plain
from windmill.settings import Settings

HELP = """\
Sends images to the queues of the services, one message an image however many services it goes to.

  producer.py --services all --group coco2017       everything but face and pose, which work on boxes
  producer.py --services yolov8,rtdetr --limit 100  two services, the first 100 images that lack one
  producer.py --services full_catalog               every service that looks at images
  producer.py --list-services                       what service_config.json lists

A run goes on where the last one stopped: an image is sent to exactly those services that have neither a
result for it nor a job under way. --no-resume sends everything again; results are then replaced.
Exit status: 0 sent, or nothing to send; 1 the broker stayed away; 2 wrong settings; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--services",
        default="all",
        metavar="WHICH",
        help="all, primary, spatial_only, full_catalog, or names a,b,c (default: all)",
    )
    parser.add_argument("--group", metavar="NAME", help="only images of this group")
    parser.add_argument("--limit", type=_count, metavar="N", help="at most N images that lack something")
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
    wanted = Wanted(
        services=catalog.select(args.services),
        group=args.group,
        limit=args.limit,
        resume=args.resume,
        delay=args.delay,
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with wiring.ledger(settings) as ledger:
        groups = ledger.groups()
        if wanted.group is not None and groups and wanted.group not in groups:
            known = ", ".join(f"{name} ({count:,})" for name, count in groups.items())
            raise ConfigError(f"there is no image group {wanted.group!r}; there are {known}")
        total = wanted.count(ledger)
        sent = _send(wanted, total, ledger, settings, stop) if total else Sent()
    if args.json:
        sys.stdout.write(json.dumps({"images": sent.images, "services": sent.services}) + "\n")
    else:
        sys.stdout.write(summary(sent, wanted, groups) + "\n")
    if stop.is_set():
        sys.stderr.write("interrupted; the same command goes on from here\n")
        return 130
    return 0


def _send(
    wanted: Wanted, total: int, ledger: DispatchLedger, settings: Settings, stop: threading.Event
) -> Sent:
    with wiring.publisher(settings) as publisher, meter("producing", "images", total) as progress:
        return produce(wanted, ledger, publisher, progress, stop)


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
    table = Table(title=str(catalog.path), title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column)
    for row in rows:
        table.add_row(*(plain(", ".join(v) if isinstance(v, list) else v) for v in row.values()))
    Console().print(table)
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < 86_400:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds, 0 or more")
    return number
