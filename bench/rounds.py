"""Parts that take turns, round after round, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from rich.console import Console
from rich.table import Table

Figures = Mapping[str, float]  # of one part in one round, by unit
Part = Callable[[], Figures]
Seen = Mapping[str, Mapping[str, Sequence[float]]]  # part → unit → a figure for each round


def interleaved(parts: Mapping[str, Part], rounds: int) -> Seen:
    """All parts one after the other, `rounds` times. Ctrl-C ends them; what was seen by then is kept."""
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in parts}
    turns = [(number, name) for number in range(1, rounds + 1) for name in parts]
    began = time.monotonic()
    try:
        for done, (number, name) in enumerate(turns, 1):
            for unit, value in parts[name]().items():
                seen[name].setdefault(unit, []).append(value)
            left = timedelta(seconds=round((time.monotonic() - began) / done * (len(turns) - done)))
            sys.stderr.write(f"round {number} of {rounds}: {name}; about {left} left\n")
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted in round {number}: {name}; these are the figures until then\n")
    return seen


def table(seen: Seen, title: str = "") -> Table:
    """Medians, with the least and the most of all rounds."""
    units = list(dict.fromkeys(unit for part in seen.values() for unit in part))
    made = Table(title, *units)
    for name, part in seen.items():
        made.add_row(name, *(cell(part[unit]) if unit in part else "" for unit in units))
    return made


def cell(values: Sequence[float]) -> str:
    """The median, and the span where there is one."""
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def arguments(module: str, doc: str | None, rounds: int) -> argparse.ArgumentParser:
    """What all benchmarks can be told."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=at_least(1), default=rounds, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """For an argument that is a number: with fewer there is nothing to measure."""

    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: at least {least:,}")
        return int(text)

    return number


def tell(seen: Seen, *, as_json: bool, title: str = "") -> None:
    """The table on a terminal, or all figures for a script."""
    if as_json:
        sys.stdout.write(json.dumps(seen, ensure_ascii=False, indent=1) + "\n")
    else:
        Console(width=150).print(table(seen, title))
