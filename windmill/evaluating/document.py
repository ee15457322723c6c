"""Tables of an evaluation as a section of a Markdown document, between two marks that name it."""

from __future__ import annotations

import os
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
    begin, end = _marks(name)
    block = f"{begin}\n\n{text}\n\n{end}"
    old = _marked(path, name)
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new = pattern.sub(lambda _: block, old, count=1) if begin in old else f"{old}\n{block}\n".lstrip()
    try:
        _replace(path, new)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}") from exc


def check(path: Path, name: str) -> None:
    """Whether `write` will be able to: asked before an hour of work. Raises `ConfigError`."""
    check_folder(path)
    _marked(path, name)


def check_folder(path: Path) -> None:
    """Whether a file can be put there. Raises `ConfigError`."""
    folder = path.resolve().parent
    if path.is_dir():
        raise ConfigError(f"{path}: cannot be written: it is a folder")
    if not folder.is_dir():
        raise ConfigError(f"{path}: cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: cannot be written: nothing may be put into {folder}")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def _marked(path: Path, name: str) -> str:
    """The document as it is, with both marks in order or none."""
    begin, end = _marks(name)
    try:
        old = path.read_text("utf-8") if path.exists() else ""
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}") from exc
    if (begin in old) != (end in old):
        raise ConfigError(f"{path}: one of {begin} and {end} is missing")
    if old.find(begin) > old.find(end):
        raise ConfigError(f"{path}: {end} stands before {begin}")
    return old


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
