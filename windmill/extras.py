"""Parts of Windmill that are installed on demand: what a person is told who has not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from windmill.errors import ConfigError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Around imports of what the extra `extra` brings. Raises `ConfigError` that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] == "windmill":
            raise
        raise ConfigError(f"{exc.name} is missing: pip install 'windmill-images[{extra}]'") from exc
