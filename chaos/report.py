"""The table, on a terminal and in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from chaos.running import Line

HEAD = ("case", "broker", "rows", "lost", "duplicated", "wrong", "seconds to recover", "note")


def show(lines: Sequence[Line]) -> None:
    table = Table(*HEAD)
    for line in lines:
        table.add_row(*cells(line))
    Console(width=140).print(table)


def cells(line: Line) -> tuple[str, ...]:
    counts = (line.jobs, line.lost, line.duplicated, line.wrong)
    return (line.case, line.broker, *map(str, counts), f"{line.seconds:.1f}", line.note)


def write_document(lines: Sequence[Line], *, images: int, hold: float) -> None:
    raise NotImplementedError
