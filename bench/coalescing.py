"""How many merges and votes live workers save: results that come close together need one.

Three instant services, the merger and the voter all work while the producer sends. A trigger is what a result
sends to a stage; `saved` is the share of them for which nothing was recomputed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from bench.ground import BROKERS, Ground, environment, ground
from bench.jobs import produce
from bench.made_replies import bodies
from bench.rounds import Figures, arguments, at_least, interleaved, tell
from bench.watching import reached, running
from tests.servers.base import free_port
from windmill import wiring
from windmill.catalog import MERGER, VOTER
from windmill.settings import Settings

DETECTORS, CAPTIONER = ("yolov8", "rtdetr"), "blip"
SERVICES = (*DETECTORS, CAPTIONER)
STAGES = (MERGER, VOTER)
SLOW = 0.05  # seconds between images that are sent slowly: the stages keep up
THREADS = 4  # of each worker
LOOK = 0.1  # seconds between looks at how far it is
_AUDIT = """
CREATE UNLOGGED TABLE made (stage TEXT, what TEXT);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO made VALUES (new.stage, TG_ARGV[0]); RETURN NULL; END$$;
CREATE TRIGGER computed AFTER INSERT OR UPDATE OF seen ON stages
    FOR EACH ROW EXECUTE FUNCTION note('computed');
CREATE TRIGGER changed AFTER UPDATE OF changed_at ON stages
    FOR EACH ROW EXECUTE FUNCTION note('changed');
"""
_MADE = "SELECT count(*) FROM made WHERE stage = %s AND what = %s"
_DONE = "SELECT count(*) FROM stages WHERE stage = %s AND seen ?& %s"
_RESULTS = "SELECT count(*) FROM results"


def live(place: Ground, broker: str, images: int, delay: float, *, late: bool) -> Figures:
    """Everything at once; if `late`, the stages come when all results are there."""
    with ExitStack() as stack:
        settings = stack.enter_context(services(place, broker))
        place.add_images(settings, images)
        place.postgres.run(_AUDIT, settings.db_name)
        connection = stack.enter_context(closing(place.postgres.connect(settings.db_name)))
        cursor = stack.enter_context(connection.cursor())
        first, then = (SERVICES, STAGES) if late else ((*SERVICES, *STAGES), ())
        start = partial(workers, stack, settings)
        alive = start(first)
        with wiring.ledger(settings) as ledger, wiring.publisher(settings) as publisher:
            produce(ledger, publisher, SERVICES, delay)
        reached(partial(_count, cursor, _RESULTS), len(SERVICES) * images, alive)
        alive += start(then)
        reached(partial(_count, cursor, _DONE, (MERGER, list(DETECTORS))), images, alive)
        reached(partial(_count, cursor, _DONE, (VOTER, list(SERVICES))), images, alive)
        _drained(settings)
        return figures(cursor, images)


def workers(stack: ExitStack, settings: Settings, names: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    commands = [[sys.executable, "-m", "windmill", "work", name] for name in names]
    return stack.enter_context(running(commands, environment(settings)))


@contextmanager
def services(place: Ground, broker: str) -> Iterator[Settings]:
    """Three servers that answer at once with what is said of one photo after the other."""
    ports, said = {name: free_port() for name in SERVICES}, bodies(500)
    entries: dict[str, Any] = {MERGER: {"triggers": [VOTER]}, VOTER: {}}
    commands = []
    for name, port in ports.items():
        file = place.folder / f"{name}.jsonl"
        file.write_text("\n".join(one[name] for one in said), "utf-8")
        commands.append([sys.executable, "-m", "bench.instant_service", str(port), "--replies", str(file)])
        stages = [MERGER, VOTER] if name in DETECTORS else [VOTER]
        entries[name] = {"host": "127.0.0.1", "port": port, "triggers": stages}
    catalog = place.folder / "live.json"
    catalog.write_text(json.dumps(entries), "utf-8")
    settings = place.settings(broker, service_config=catalog)
    with running(commands, environment(settings)):
        yield replace(settings, worker_concurrency=THREADS)


def figures(cursor: Any, images: int) -> Figures:
    """Of an image."""
    changed = _count(cursor, _MADE, (MERGER, "changed"))
    triggers = {MERGER: len(DETECTORS) * images, VOTER: len(SERVICES) * images + changed}
    found: dict[str, float] = {}
    for stage, name in ((MERGER, "merges"), (VOTER, "votes")):
        made = _count(cursor, _MADE, (stage, "computed"))
        found[f"triggers of {name}"] = triggers[stage] / images
        found[name] = made / images
        found[f"{name} saved, %"] = 100 * (1 - made / triggers[stage])
    return found


def _drained(settings: Settings) -> None:
    """Until no trigger waits."""
    while any(one.waiting for one in wiring.queue_states(settings, STAGES).values()):
        time.sleep(LOOK)


def _count(cursor: Any, statement: str, values: Any = ()) -> int:
    cursor.execute(statement, values)
    return int(cursor.fetchone()[0])


def main() -> None:
    parser = arguments("coalescing", __doc__, rounds=3)
    parser.add_argument(
        "--images", type=at_least(200), default=2000, help="of one part (default: %(default)s)"
    )
    args = parser.parse_args()
    with ground() as place:
        seen = interleaved(
            {
                f"{name}, {broker}": partial(live, place, broker, count, delay, late=late)
                for name, count, delay, late in (
                    (f"an image each {1000 * SLOW:.0f} ms", args.images // 5, SLOW, False),
                    ("as fast as it goes", args.images, 0.0, False),
                    ("stages come late", args.images, 0.0, True),
                )
                for broker in BROKERS
            },
            args.rounds,
        )
    tell(seen, as_json=args.json, title=__doc__.splitlines()[0] if __doc__ else "")


if __name__ == "__main__":
    main()
