"""`windmill reconcile`: what the queues lost is sent again."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Mapping

from windmill import reconciling, wiring
from windmill.commands.produce import interruptible
from windmill.errors import BrokerError, StoreError
from windmill.producing import Pace, Producer, counts
from windmill.progress import meter
from windmill.settings import Settings

log = logging.getLogger(__name__)

HELP = """\
Compares the database with the queues, and sends exactly what the database waits for and no queue holds: after
a queue was purged, or a broker was wiped or lost what it had. Each queue is read once, message by message;
none is lost or spent by that, workers may go on meanwhile.

  windmill reconcile --dry-run    counts, and sends nothing
  windmill reconcile

Found are images that were asked for and are not settled, replies that the merger or the voter has not seen,
boxes that a box worker has not looked at, and captions without a score. What a worker has in its hands at
this moment is in no queue: it is sent too, marked as a possible second copy, and counts once. For exact
numbers stop the workers first.
Exit status: 0 done; 1 the broker or the database stayed away; 2 wrong settings; 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="count what is lost and send nothing")
    parser.add_argument("--json", action="store_true", help="the counts as JSON on standard output")


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalog = wiring.services(settings)
    found: Counter[str] = Counter()
    with wiring.ledger(settings) as ledger, wiring.publisher(settings) as broker, interruptible() as stop:
        names = reconciling.queues(catalog, ledger)
        states = broker.queue_states(names).values()
        if any(one.consumers for one in states):
            log.warning("workers are at work: what they have in hand at this moment counts as lost, too")
        with meter("reading queues", "jobs", sum(one.waiting + one.delayed for one in states)) as progress:
            before = reconciling.count(names, broker, ledger, progress)
        pace = Pace(max_queue_depth=settings.max_queue_depth, doubtful=True)
        for selection in reconciling.lost(catalog, names, before):
            lost = ledger.count(selection)
            if stop.is_set():
                break
            if not lost:
                continue
            if args.dry_run:
                found.update(lost)
                continue
            with meter(f"sending to {', '.join(lost)}", "jobs", sum(lost.values())) as progress:
                producer = Producer(selection, ledger, broker, pace, stop, services=tuple(lost))
                try:
                    found.update(producer.run(progress).services)
                except (BrokerError, StoreError, KeyboardInterrupt):
                    sys.stderr.write(f"cut short after {counts(producer.sent, 'jobs')}\n")
                    raise
    _tell(found, args, interrupted=stop.is_set())
    return 130 if stop.is_set() else 0


def _tell(found: Mapping[str, int], args: argparse.Namespace, *, interrupted: bool) -> None:
    if args.json:
        sys.stdout.write(json.dumps({"lost": dict(found), "sent": not args.dry_run}) + "\n")
        return
    if interrupted:
        sys.stderr.write("interrupted; the same command begins anew\n")
    if found:
        each = ", ".join(f"{name} {number:,}" for name, number in sorted(found.items()))
        verb = "lost" if args.dry_run else "sent again"
        sys.stdout.write(f"{verb}: {each}\n")
    elif not interrupted:
        sys.stdout.write("nothing is lost: all that is not settled lies in a queue\n")
