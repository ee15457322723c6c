"""Tables of an evaluation as a section of a Markdown document, between two marks that name it."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile

from windmill.errors import ConfigError
from windmill.plain import line


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table to be shown: on a terminal, or in a document. `notes` stand below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def section(command: str, packages: Sequence[str], sheets: Sequence[Sheet]) -> str:
    """Markdown: the command that made the tables, when, with which versions of what; and the tables.

    `command` names its folder of data without the path to it. Raises `ConfigError` for a missing package.
    """
    about = f"Made on {datetime.now(UTC):%Y-%m-%d} with {', '.join(_versions(packages))} by"
    return "\n\n".join([about, f"    {line(command)}", *(_markdown(one) for one in sheets)])


def write(path: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- name:begin -->` and `<!-- name:end -->`, added where they are missing.

    The document is replaced at once: whoever reads it meanwhile sees the old one. Raises `ConfigError`.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    block = f"{begin}\n\n{text}\n\n{end}"
    try:
        old = path.read_text("utf-8") if path.exists() else ""
        if (begin in old) != (end in old):
            raise ConfigError(f"{path}: one of {begin} and {end} is missing")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        new = pattern.sub(lambda _: block, old, count=1) if begin in old else f"{old}\n{block}\n".lstrip()
        _replace(path, new)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc}") from exc


def _replace(path: Path, text: str) -> None:
    with NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.resolve().parent, prefix=f".{path.name}.", delete=False
    ) as file:
        scratch = Path(file.name)
    try:
        scratch.write_text(text, "utf-8")
        scratch.chmod(path.stat().st_mode if path.exists() else 0o644)
        scratch.replace(path.resolve())
    finally:
        scratch.unlink(missing_ok=True)


def _versions(packages: Sequence[str]) -> list[str]:
    try:
        told = [f"{name} {metadata.version(name)}" for name in packages]
    except metadata.PackageNotFoundError as exc:
        raise ConfigError(f"{exc.name} is missing: pip install 'windmill-images[eval]'") from exc
    return [*told, f"Python {platform.python_version()}"]


def _markdown(sheet: Sheet) -> str:
    rows = [sheet.columns, tuple("---" for _ in sheet.columns), *sheet.rows]
    table = "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)
    return "\n\n".join([f"**{line(sheet.title)}**", table, *map(line, sheet.notes)])


def _cell(text: str) -> str:
    """Names of files are data: none ends a cell."""
    return line(text).replace("|", "\\|")
