"""Conditions on what the pipeline knows of images, as a person writes them: text → `Condition`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Has:
    """`votes ? '🚗'`: the list of this field holds the value."""

    field: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """`nsfw < 0.1`, `votes['🚗'] >= 3`: a field, or what it holds under `key`, beside a value."""

    field: str
    key: str | None
    operator: str
    value: str | float


@dataclass(frozen=True, slots=True)
class All:
    """`a and b`."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """`a or b`."""

    of: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`not a`."""

    of: Condition


Condition = Has | Compare | All | Any | Not
