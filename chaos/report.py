"""The table, on a terminal and in docs/reliability.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chaos.running import Line
from chaos.site import Site

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- written by python -m chaos -->", "<!-- until here -->"
HEAD = ("case", "broker", "rows", "lost", "duplicated", "wrong", "seconds to recover", "note")


def show(lines: Sequence[Line]) -> None:
    """On standard output; as wide as it has to be where that is no terminal."""
    table = Table(*HEAD)
    for line in lines:
        table.add_row(*cells(line))
    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)


def cells(line: Line) -> tuple[str, ...]:
    counts = (line.jobs, line.lost, line.duplicated, line.wrong)
    return (line.case, line.broker, *map(str, counts), f"{line.seconds:.1f}", line.note)


def write_document(lines: Sequence[Line], *, images: int, hold: float, site: str) -> None:
    """Puts the table, and where it was made, between the two marks in docs/reliability.md."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, {images} images, `--hold {hold:g}`, {os.cpu_count()} cores; {site}."
    )
    rows = [HEAD, tuple("---" for _ in HEAD), *(cells(line) for line in lines)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{about}\n\n{table}\n\n{END}{after}", "utf-8")


def versions(site: Site) -> str:
    """What the figures were seen with."""
    kernel = f"{platform.system()} {platform.release()}"
    return f"{kernel}, Python {platform.python_version()}, {site.versions()}"
