"""Progress of long work: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from windmill.plain import LONGEST, line

log = logging.getLogger(__name__)

NARROW = 160  # columns of a terminal: with fewer, tables that tell of errors stack cells, to leave them room
_EVERY = 5.0  # seconds between lines
_LATELY, _STEP = 30.0, 1.0  # seconds that a pace is of, and between two looks at it


class Meter(Protocol):
    """Is told how far the work is."""

    def update(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def meter(what: str, unit: str, total: int | None) -> Iterator[Meter]:
    """A meter on standard error for `total` units of work (None: nobody knows)."""
    if sys.stderr.isatty():
        with _bar(what, unit, total) as bar:
            yield bar
    else:
        lines = Lines(what, unit, total)
        yield lines
        lines.finish()


class Lately:
    """How fast work went lately. What came before may have been of another kind: what a run finds done
    already is passed in no time, and says nothing about the rest."""

    def __init__(self, now: float) -> None:
        self._looks = deque([(now, 0)])

    def __call__(self, done: int, now: float) -> float:
        """Units a second, when so many are done at `now` (seconds)."""
        if now - self._looks[-1][0] >= _STEP:
            self._looks.append((now, done))
        while len(self._looks) > 1 and now - self._looks[1][0] >= _LATELY:
            self._looks.popleft()
        then, before = self._looks[0]
        return (done - before) / max(1e-6, now - then)


class Mute:
    """A `Meter` that tells nobody."""

    def update(self, done: int, total: int | None = None) -> None:
        """Nothing."""


class Lines:
    """Progress as log lines, for pipes and logs."""

    def __init__(self, what: str, unit: str, total: int | None) -> None:
        self._what, self._unit, self._total = what, unit, total
        self._done = 0
        self._started = self._said = time.monotonic()
        self._lately = Lately(self._started)

    def update(self, done: int, total: int | None = None) -> None:
        self._done, self._total = done, self._total if total is None else total
        now = time.monotonic()
        rate = self._lately(done, now)
        if now - self._said >= _EVERY:
            self._said = now
            self._say(rate)

    def finish(self) -> None:
        """Says how far it came, and how fast on the whole."""
        self._say(self._done / max(1e-6, time.monotonic() - self._started))

    def _say(self, rate: float) -> None:
        log.info("%s: %s", self._what, describe(self._done, self._total, rate, self._unit))


def describe(done: int, total: int | None, rate: float, unit: str) -> str:
    """`120 of 1,000 images, 40 images/s, 0:00:22 left`."""
    if total is None:
        return f"{done:,} {unit}, {speed(rate, unit)}"
    left = f", {timedelta(seconds=round((total - done) / rate))} left" if 0 < done < total else ""
    return f"{done:,} of {total:,} {unit}, {speed(rate, unit)}{left}"


def describe_duration(duration: timedelta) -> str:
    """`2 days 4 h`, `3 h 20 min`, `12 min`, `40 s`: no finer than anyone can foretell."""
    seconds = round(duration.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours = seconds // 60 % 60, seconds // 3600
    if hours >= 48:
        return f"{hours // 24} days {hours % 24} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def speed(rate: float, unit: str) -> str:
    """`40 images/s`; slow work is not said to stand still: `0.25 images/s`."""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 or rate == 0 else f"{rate:.2g} {unit}/s"


class _Bar:
    def __init__(self, progress: Progress, what: str, unit: str, total: int | None) -> None:
        self._progress, self._unit = progress, unit
        self._lately = Lately(time.monotonic())
        self._task = progress.add_task(what, total=total, rate="")

    def update(self, done: int, total: int | None = None) -> None:
        said = speed(self._lately(done, time.monotonic()), self._unit)
        if total is None:
            self._progress.update(self._task, completed=done, rate=said)
        else:
            self._progress.update(self._task, completed=done, total=total, rate=said)


@contextmanager
def _bar(what: str, unit: str, total: int | None) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress, what, unit, total)


def plain(value: object, most: int = LONGEST) -> Text:
    """A cell of a table: what files and services say is data, neither markup nor an order to the terminal."""
    return Text(line(value, most))


def folding(columns: Sequence[str], unbroken: Collection[str]) -> Table:
    """A table that tells of errors: what is too long goes on in the next line, but for `unbroken` columns."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in unbroken)
    return table


def stacked(*values: object) -> Text:
    """A cell with a line for each value, the empty ones left out."""
    return Text("\n").join([plain(value) for value in values if value not in (None, "")])
