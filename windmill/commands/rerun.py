"""`windmill rerun`: a service looks at images again."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from datetime import timedelta

from windmill import wiring
from windmill.catalog import BOX_WORKERS, INDEX_WORKERS, MERGER, SCORER, STAGES, VOTER, Catalog
from windmill.commands.produce import check_group, count_of, interruptible, send
from windmill.core import routing
from windmill.errors import ConfigError
from windmill.model import BoxesAgain, ImagesAgain, Selection, StagesAgain, Which
from windmill.ports import Ledger
from windmill.producing import Pace, Sent, counts
from windmill.progress import describe_duration
from windmill.settings import Settings

log = logging.getLogger(__name__)

HELP = """\
Has a service, a stage or a box worker look at images again that it has looked at before.

  windmill rerun --service yolov8 --stale --dry-run      how many, and how long it would take
  windmill rerun --service yolov8 --stale                what another version of the model found
  windmill rerun --service ocr --failed                  what was given up
  windmill rerun --service blip --group holidays         every image of a group
  windmill rerun --service bbox_merger --stale           what another rule merged

Each result carries the version that the reply's metadata told. The current one is what --version says, else
what the service's /health says, else the newest that it answered with. A version that becomes current by
--version replaces the results of all others, so that one can go back to an older one, too; otherwise a late
answer of an older version never replaces a newer one's. Images that wait for the service anyhow are left out.
Exit status: 0 done; 1 the broker or the database stayed away; 2 wrong settings; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", required=True, metavar="NAME", help="a name in service_config.json")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--stale", action="store_true", help="results of another version than the current one")
    which.add_argument("--failed", action="store_true", help="what was given up")
    parser.add_argument("--group", metavar="NAME", help="only images of this group; alone: all of them")
    parser.add_argument("--version", metavar="TEXT", help="the current version, as results tell it")
    parser.add_argument("--limit", type=count_of, metavar="N", help="at most so many")
    parser.add_argument("--dry-run", action="store_true", help="say how many and how long, send nothing")
    parser.add_argument("--json", action="store_true", help="the counts as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    if not (args.stale or args.failed or args.group):
        raise ConfigError("which images? --stale, --failed, or --group NAME for all of a group")
    if args.version is not None and not (args.version and args.stale):
        raise ConfigError("--version TEXT says which version is current, and goes with --stale")
    catalog = wiring.services(settings)
    with wiring.ledger(settings) as ledger, interruptible() as stop:
        check_group(ledger, args.group)
        selection = _selection(args, catalog, settings, ledger)
        total = min(sum(ledger.count(selection).values()), args.limit or sys.maxsize)
        if args.dry_run:
            _foretell(args, selection, total, ledger)
            return 0
        sent = Sent()
        if total:
            pace = Pace(
                max_queue_depth=settings.max_queue_depth, limit=args.limit, doubtful=_whatever_was(selection)
            )
            sent = send(selection, ledger, settings, pace, stop, total)
    if args.json:
        sys.stdout.write(json.dumps({"sent": sent.dispatches, "service": args.service}) + "\n")
    else:
        sys.stdout.write(f"sent {counts(sent, 'jobs')}\n" if total else "nothing to send\n")
    return 130 if stop.is_set() and sent.dispatches < total else 0


def _selection(
    args: argparse.Namespace, catalog: Catalog, settings: Settings, ledger: Ledger
) -> ImagesAgain | StagesAgain | BoxesAgain:
    name = args.service if args.service in STAGES else catalog[args.service].name
    which = Which.STALE if args.stale else Which.FAILED if args.failed else Which.ALL
    if name == SCORER:
        raise ConfigError(f"{SCORER} follows from captions: rerun the captioner")
    if name in INDEX_WORKERS and which is Which.STALE:
        raise ConfigError(
            f"{name}: an index holds the vectors of one model; of another, begin another (INDEX_PREFIX),"
            " and send images with --group NAME"
        )
    if name in (MERGER, VOTER):
        return StagesAgain(
            services=(name,), which=which, rule=wiring.stage_rule(name, settings), group=args.group
        )
    kept_as = BOX_WORKERS.get(name, name)
    version = _current(args, catalog, settings, ledger, kept_as) if which is Which.STALE else ""
    if name in BOX_WORKERS:
        only = routing.looks_only_at(name)
        return BoxesAgain(
            services=(name,), kept_as=kept_as, which=which, version=version, only=only, group=args.group
        )
    return ImagesAgain(services=(name,), which=which, version=version, group=args.group)


def _whatever_was(selection: Selection) -> bool:
    """Whether a stage is to work where it has seen all; it leaves that as it is, but not what it may not have
    finished, as one that failed."""
    return isinstance(selection, StagesAgain) and selection.which is not Which.STALE


def _current(
    args: argparse.Namespace, catalog: Catalog, settings: Settings, ledger: Ledger, service: str
) -> str:
    """The current version of a service; the database learns of it where it is news."""
    known = next(iter(ledger.versions(service)), "")
    told = args.version or wiring.caller(catalog.stage(args.service), settings).version()
    current: str = told or known
    if not current:
        raise ConfigError(f"{args.service}: no result tells a version, nor does /health; say --version TEXT")
    if args.version and current not in ledger.versions(service):
        log.warning("no result tells version %r yet; known: %s", current, ", ".join(ledger.versions(service)))
    if not told:
        log.warning("/health tells no version; the newest in the results is %r. Else: --version TEXT", known)
    if current != known and not args.dry_run:
        ledger.make_current(service, current)
    return current


def _foretell(args: argparse.Namespace, selection: Selection, total: int, ledger: Ledger) -> None:
    settled, seconds = ledger.last_hour(args.service)
    rate = settled / seconds if settled > 1 and seconds > 0 else None
    version = getattr(selection, "version", "")
    if args.json:
        expected = None if rate is None else round(total / rate, 1)
        found = {"service": args.service, "jobs": total, "version": version, "expected_seconds": expected}
        sys.stdout.write(json.dumps(found) + "\n")
        return
    current = f" (current version: {version})" if version else ""
    sys.stdout.write(f"{args.service}: {total:,} to send again{current}\n")
    if not total:
        return
    if rate is None:
        sys.stdout.write("how long it takes: unknown, it settled next to nothing in the last hour\n")
    else:
        duration = describe_duration(timedelta(seconds=total / rate))
        sys.stdout.write(f"about {duration} at the last hour's rate of {60 * rate:,.0f} a minute\n")
