"""What an evaluation gets and gives: a service, the truth, and figures that say what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from windmill.evaluating.asking import Asked
from windmill.evaluating.truth import Known
from windmill.progress import meter

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, and in words what it says. `chance` is what guessing would give, where that is not 0."""

    name: str
    value: float
    meaning: str
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Exam:
    """A service, photos with their truth, and people's faces, if there are any. `place`: `2 of 9`."""

    asked: Asked
    photos: Sequence[Known]
    people: Mapping[str, Sequence[Path]]
    place: str = ""

    def over(self, items: Sequence[Item]) -> Iterator[Item]:
        """The items one by one, with the time that is left told beside."""
        title = f"{self.asked.service.name} {self.place}".strip()
        with meter(title, "pictures", len(items)) as told:
            for n, item in enumerate(items):
                yield item
                told.update(n + 1)
