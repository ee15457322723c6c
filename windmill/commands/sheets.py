"""An evaluation's tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from windmill.evaluating.document import Sheet
from windmill.progress import plain

_WIDE = 200  # characters of what is no terminal


def wide() -> Console:
    """As wide as the terminal; wide enough for every table in a file or a pipe."""
    console = Console()
    return Console(width=None if console.is_terminal else _WIDE)


def show(sheets: Iterable[Sheet], console: Console) -> None:
    """Each table with its notes below it."""
    for sheet in sheets:
        shown = Table(*sheet.columns, title=plain(sheet.title))
        for row in sheet.rows:
            shown.add_row(*map(plain, row))
        console.print(shown)
        for note in sheet.notes:
            console.print(plain(note))
