"""`windmill services`: the ML services that somebody else runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from windmill import catalog
from windmill.catalog import BOX_WORKERS, BUILT_IN, INDEX_WORKERS, MERGER, VOTER, Service
from windmill.checking import pictures, table
from windmill.checking.calling import Gone, HttpCaller
from windmill.checking.pictures import Photo
from windmill.checking.table import FAILED, Result
from windmill.checking.target import Target
from windmill.commands.produce import count_of
from windmill.errors import ConfigError
from windmill.files import read_file
from windmill.images import ImageFiles
from windmill.plain import line
from windmill.settings import Settings

_LARGEST_PHOTO = 1280  # pixels: twice as large, it is still far from the limit

HELP = """\
Checks whether a service keeps docs/service-api.md, by asking it what workers ask, and what goes wrong.

  windmill services check http://gpu2:7773 --as yolov8
  windmill services check http://gpu2:9000/detect --as birds     as service_config.json lists it
  windmill services check http://gpu2:7786 --as pose --photo runner.jpg
  windmill services check http://gpu2:7773 --as yolov8 --only reply --only many-bytes --json
  windmill services check --list                                 every check, and what it is good for

It sends about a hundred requests, with a drawn photo (a stop sign, a person) unless --photo names one in
which the service sees something: on what it does not see it cannot be checked, and is not.
Exit status: 0 all passed or skipped, 1 some failed, 2 nobody answers there, or wrong arguments."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["check"], help="what to do")
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="http://HOST:PORT, with the endpoint if it is another"
    )
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="the name of the service, which says what it promises"
    )
    parser.add_argument("--photo", type=Path, metavar="FILE", help="a photo in which it sees something")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHECK", help="only this check; may be repeated"
    )
    parser.add_argument(
        "--clients", type=count_of, default=32, metavar="N", help="clients at once (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="seconds for one call (default: as for workers)"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON on standard output")
    parser.add_argument("--list", action="store_true", help="list the checks and exit")  # fmt: skip


def run(args: argparse.Namespace, settings: Settings) -> int:
    checks = table.selected(args.only)
    if args.list:
        for check in checks:
            sys.stdout.write(f"{check.name:<18} otherwise {check.why}\n")
        return 0
    if not args.url or not args.name:
        raise ConfigError("which service? URL --as NAME, where NAME says what it promises")
    target = _target(args, settings)
    results = []
    for result in table.results(target, checks):
        results.append(result)
        if isinstance(result.failure, Gone) and len(results) == 1:
            raise ConfigError(f"{args.url}: nobody answers there: {result.failure.got}")
        if not args.json:
            sys.stdout.write(_told(result))
            sys.stdout.flush()
    counts = Counter(result.outcome for result in results)
    sys.stdout.write(_document(target, results) if args.json else _summary(target, counts))
    return 1 if counts[FAILED] else 0


def _target(args: argparse.Namespace, settings: Settings) -> Target:
    service = located(args.url, args.name, settings)
    if args.timeout is not None and not args.timeout > 0:
        raise ConfigError("--timeout: expected seconds, more than 0")
    timeout = args.timeout or service.timeout or settings.request_timeout
    most = round(settings.max_reply_mb * 2**20)
    call = HttpCaller(service, timeout=timeout, most=most)
    photo = _photo(args.photo, settings)
    return Target(service=service, call=call, photo=photo, clients=args.clients, timeout=timeout)


def _entry(name: str, settings: Settings) -> Service:
    """As the catalog lists it, or as Windmill knows it. Raises `ConfigError`."""
    if name in INDEX_WORKERS:
        raise ConfigError(
            f"--as {name}: that is a worker; the service that it calls is {INDEX_WORKERS[name]}"
        )
    if settings.service_config.exists():
        services = catalog.load(settings.service_config).services
        if name in services and services[name].port:
            return services[name]
    known = [one for one in BUILT_IN if one not in (MERGER, VOTER, *BOX_WORKERS, *INDEX_WORKERS)]
    if name not in known:
        place = settings.service_config
        raise ConfigError(f"--as {name}: neither in {place} nor one of {', '.join(known)}")
    return catalog.facts(name)


def located(url: str, name: str, settings: Settings) -> Service:
    """The service of this name at this address. Raises `ConfigError`."""
    return _service(url, _entry(name, settings))


def _service(url: str, entry: Service) -> Service:
    """The entry, at this address. Raises `ConfigError`."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError as exc:
        raise ConfigError(f"{line(url)}: {exc}") from exc
    if parts.scheme != "http" or not host:
        raise ConfigError(f"{line(url)}: expected http://HOST:PORT; workers call services by http")
    endpoint = parts.path if parts.path not in ("", "/") else entry.endpoint
    return replace(entry, host=host, port=port, endpoint=endpoint)


def _photo(path: Path | None, settings: Settings) -> Photo:
    """Upright, in RGB, and not large. Raises `ImageError`."""
    if path is None:
        return Photo(pictures.drawn())
    data = read_file(path, int(settings.max_image_mb * 1_000_000))
    photo = ImageFiles(settings).decode(str(path), data)
    photo.thumbnail((_LARGEST_PHOTO, _LARGEST_PHOTO))
    return Photo(photo)


def _told(result: Result) -> str:
    told = f"{result.outcome:<8} {result.check.name:<18} {line(result.said)}\n"
    return f"{told}{'':<28}otherwise {result.check.why}\n" if result.failure else told


def _summary(target: Target, counts: Counter[str]) -> str:
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (table.PASSED, FAILED, table.SKIPPED))
    return f"{target.service.url} as {target.service.name}: {told}\n"


def _document(target: Target, results: Sequence[Result]) -> str:
    document = {
        "url": target.service.url,
        "as": target.service.name,
        "failed": sum(result.outcome == FAILED for result in results),
        "checks": [_shown(result) for result in results],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _shown(result: Result) -> dict[str, object]:
    failure = result.failure
    details = {"sent": failure.sent, "expected": failure.expected, "got": failure.got} if failure else {}
    said = {"name": result.check.name, "outcome": result.outcome, "said": result.said}
    return {**said, "otherwise": result.check.why, "seconds": round(result.seconds, 3), **details}
