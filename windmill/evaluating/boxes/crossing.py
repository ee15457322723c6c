"""Cross-validation by image: no image is merged with anything that was learned from it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from windmill.calibrating.found import Found, Line, columns, joined
from windmill.calibrating.table import LabelledImage
from windmill.evaluating.boxes import arrivals
from windmill.evaluating.boxes.arrivals import Kept, Order
from windmill.evaluating.boxes.folder import Source
from windmill.evaluating.boxes.rule import Merged, Rule, Shown, shown
from windmill.model import MergedBox

Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class Both:
    """Merged boxes of many images: all candidates, and the stored ones."""

    candidates: Found
    stored: Found


@dataclass(frozen=True, slots=True)
class Outcome:
    """Boxes by who had reported; what became of them by how many had; images whose end hung on the order."""

    boxes: Mapping[Names, Both]
    kept: Mapping[int, Kept] = field(default_factory=dict)
    unequal: int = 0


@dataclass(frozen=True, slots=True)
class Fold:
    """One of `folds` parts of the images: merged, after learning from the other parts.

    Replies come in each of `orders`; without orders only the merge of all `detectors` is made.
    """

    source: Source
    detectors: tuple[str, ...]
    rule: Rule
    fold: int
    folds: int
    orders: tuple[Order, ...] = ()

    def run(self) -> Outcome:
        told = shown(self.source)
        mine, others = self._split()
        learned = self.rule.learn([_labelled(told, n, self.detectors) for n in others])
        gathered = _Gathered(told.categories)
        for n in mine:
            states = self._states(told, n, learned)
            ends = [self._merged(told, n, order, learned) for order in self.orders]
            replies = {name: told.replies[name][n].reply for name in self.detectors}
            gathered.add(n, states)
            gathered.follow(arrivals.kept(self.orders, states, replies))
            gathered.unequal += any(end != states[frozenset(self.detectors)] for end in ends)
        return gathered.outcome()

    def _split(self) -> tuple[list[int], list[int]]:
        numbers = [part(one.id, self.folds) for one in self.source.folder.pictures]
        mine = [n for n, number in enumerate(numbers) if number == self.fold]
        return mine, [n for n, number in enumerate(numbers) if number != self.fold]

    def _states(self, told: Shown, image: int, learned: object) -> dict[Names, Merged]:
        subsets = arrivals.prefixes(self.orders) or [frozenset(self.detectors)]
        return {
            names: self._merged(told, image, [one for one in self.detectors if one in names], learned)
            for names in subsets
        }

    def _merged(self, told: Shown, image: int, names: Sequence[str], learned: object) -> Merged:
        return self.rule.merge([told.replies[name][image] for name in names], learned)


@dataclass(frozen=True, slots=True)
class Alone:
    """Each of the detectors by itself, merged with what was learned from all of them.

    From all images, and for all of them: nobody is contradicted, so nothing that was learned can change the
    order of one detector's boxes. Five folds' scores would, as they differ by a hair.
    """

    source: Source
    detectors: tuple[str, ...]
    rule: Rule

    def run(self) -> Mapping[str, Found]:
        told = shown(self.source)
        images = range(len(told.truth))
        learned = self.rule.learn([_labelled(told, n, self.detectors) for n in images])
        found = {}
        for name in self.detectors:
            gathered = _Gathered(told.categories)
            for n in images:
                gathered.add(n, {frozenset([name]): self.rule.merge([told.replies[name][n]], learned)})
            found[name] = gathered.outcome().boxes[frozenset([name])].candidates
        return found


def _labelled(told: Shown, image: int, detectors: Sequence[str]) -> LabelledImage:
    replies = tuple(told.replies[name][image] for name in detectors)
    return LabelledImage(replies, told.truth[image], told.crowds[image])


def part(image: int, folds: int) -> int:
    """The fold that an image is in, whichever other images there are."""
    return zlib.crc32(str(image).encode()) % folds


def together(parts: Sequence[Outcome]) -> Outcome:
    """All folds as one."""
    gathered: dict[Names, list[Both]] = {}
    kept: dict[int, Kept] = {}
    for one in parts:
        for names, both in one.boxes.items():
            gathered.setdefault(names, []).append(both)
        _add(kept, one.kept)
    boxes = {
        names: Both(joined([one.candidates for one in many]), joined([one.stored for one in many]))
        for names, many in gathered.items()
    }
    return Outcome(boxes, kept, sum(one.unequal for one in parts))


def _add(total: dict[int, Kept], more: Mapping[int, Kept]) -> None:
    for n, counts in more.items():
        total[n] = total.get(n, Kept()) + counts


class _Gathered:
    """What comes together image by image."""

    def __init__(self, categories: Mapping[str, int]) -> None:
        self._categories = categories
        self._lines: dict[Names, tuple[list[Line], list[Line]]] = {}
        self._kept: dict[int, Kept] = {}
        self.unequal = 0

    def add(self, image: int, states: Mapping[Names, Merged]) -> None:
        for names, merged in states.items():
            candidates, stored = self._lines.setdefault(names, ([], []))
            candidates.extend(self._line(image, one) for one in merged.candidates)
            stored.extend(self._line(image, one) for one in merged.stored)

    def follow(self, kept: Mapping[int, Kept]) -> None:
        _add(self._kept, kept)

    def outcome(self) -> Outcome:
        boxes = {names: Both(columns(one), columns(two)) for names, (one, two) in self._lines.items()}
        return Outcome(boxes, self._kept, self.unequal)

    def _line(self, image: int, merged: MergedBox) -> Line:
        box = merged.box
        category = self._categories[merged.class_name]
        return image, category, merged.score, box.x, box.y, box.width, box.height
