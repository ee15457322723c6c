"""`python -m chaos [--list] [--only CASE] [--broker WHICH] [--images N] [--hold S] [--json]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence

from chaos.cases import CASES, Case
from chaos.report import show, versions, write_document
from chaos.running import Harness, Line, as_json, pairs
from chaos.site import BROKERS, opened

DESCRIPTION = """\
Disturbs real workers, brokers and databases in many ways, and counts what is lost, duplicated or wrong
afterwards. Exit status: 0 nothing is, 1 something is, 130 interrupted. docs/reliability.md says more."""


def main() -> int:
    args = _arguments()
    if args.list:
        sys.stdout.write("".join(f"{case.name:<28}{case.does}\n" for case in CASES))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore the first
        signal.signal(number, signal.default_int_handler)
    brokers = BROKERS if args.broker == "both" else (args.broker,)
    chosen = [case for case in CASES if not args.only or case.name in args.only]
    try:
        lines, site = run(chosen, brokers, images=args.images, hold=args.hold)
    except KeyboardInterrupt:
        sys.stderr.write("chaos: interrupted; everything it started has ended\n")
        return 130
    if args.json:
        sys.stdout.write(json.dumps(as_json(lines), ensure_ascii=False, indent=1) + "\n")
    else:
        show(lines)
    if args.document:
        write_document(lines, images=args.images, hold=args.hold, site=site)
    return 0 if all(line.good for line in lines) else 1


def run(cases: Sequence[Case], brokers: Sequence[str], *, images: int, hold: float) -> tuple[list[Line], str]:
    """All lines of the table, with a word about each on standard error as it comes; and what they ran on."""
    lines = []
    todo = list(pairs(cases, brokers))
    with opened(images) as site:
        harness = Harness(site, hold)
        for number, (case, broker) in enumerate(todo, 1):
            sys.stderr.write(f"[{number}/{len(todo)}] {case.name}, {broker} … ")
            sys.stderr.flush()
            line = harness.run(case, broker)
            sys.stderr.write(f"{'good' if line.good else 'BAD'}, {line.seconds:g} s {line.note}\n")
            sys.stderr.writelines(f"    {example}\n" for example in line.examples)
            lines.append(line)
        return lines, versions(site)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=DESCRIPTION)
    names = [case.name for case in CASES]
    parser.add_argument("--list", action="store_true", help="list the cases and exit")
    parser.add_argument(
        "--only", action="append", choices=names, metavar="CASE", help="this case (repeatable)"
    )
    parser.add_argument("--broker", choices=(*BROKERS, "both"), default="both")
    parser.add_argument("--images", type=int, default=100, help="photos in each run (default: 100)")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds that what is away stays away")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    parser.add_argument("--document", action="store_true", help="also write docs/reliability.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
