"""The whole comparison: sets of detectors, one after another, with everything that is said of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from windmill.calibrating.found import Found
from windmill.calibrating.judge import Judge, Point, Precision
from windmill.errors import ConfigError
from windmill.evaluating.boxes import arrivals, official, reliability, rivals
from windmill.evaluating.boxes.arrivals import Order
from windmill.evaluating.boxes.crew import Crew
from windmill.evaluating.boxes.crossing import Alone, Both, Fold, Outcome, together
from windmill.evaluating.boxes.folder import Source
from windmill.evaluating.boxes.noise import Differences, Versus
from windmill.evaluating.boxes.reliability import Bin
from windmill.evaluating.boxes.rivals import Rival, Thresholds, Trial
from windmill.evaluating.boxes.rule import Rule
from windmill.evaluating.boxes.stages import Stage, stages, worst_of_all

Sets = Mapping[str, tuple[str, ...]]

KNOWN: Sets = {  # of windmill's test data
    "A": ("yolo-v3", "ssd-resnet50-fpn", "rcnn-nas-lowproposals"),
    "B": ("yolo-v3", "ssd-resnet50-fpn", "ssd-mobilenet-v1-fpn"),
    "C": ("yolo-v3", "ssd-inception-v2", "rcnn-resnet101-lowproposals"),
    "D": (
        "yolo-v3",
        "ssd-resnet50-fpn",
        "ssd-mobilenet-v1-fpn",
        "ssd-inception-v2",
        "rcnn-nas-lowproposals",
        "rcnn-resnet101-lowproposals",
    ),
}
_MOST_IN_THREES = 6  # detectors of which every set of three is compared


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compare. The first of `rules` is the one that is held against others, and followed."""

    source: Source
    sets: Sets
    rivals: tuple[Rival, ...]
    rules: Mapping[str, Rule]
    folds: int = 5
    resamples: int = 100

    @property
    def tasks(self) -> int:
        """Of all sets, for whoever tells how far it is."""
        trials = sum(len(rivals.IOUS) + (len(rivals.SKIPS) if one.skips else 0) for one in self.rivals)
        judged = len(self.rivals) + len(self.rules)
        compared = sum(2 + bool(self.rivals) + (len(one) > 1) for one in self.sets.values())
        names = {name for names in self.sets.values() for name in names}
        return len(self.sets) * (trials + judged + self.folds * len(self.rules)) + compared + len(names)


@dataclass(frozen=True, slots=True)
class Row:
    """One way to boxes: its AP, and the point at which its boxes would be stored. `how`: its thresholds."""

    name: str
    precision: Precision
    point: Point
    how: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one set. `rules`: ours first; `alone`: the AP of ours on each detector by itself.

    `ahead`: ours less the best single detector (by AP, and by F1); `ahead_of_rival`: less the best rival,
    empty without rivals; `worst_step`: the largest losses when one more detector joined, empty if none does.
    `reliability`: what the scores of our candidates say, and what is right of them. `unequal`: images whose
    last boxes hung on which of `orders` the replies came in.
    """

    name: str
    detectors: tuple[Row, ...]
    rivals: tuple[Row, ...]
    rules: tuple[Row, ...]
    alone: tuple[float, ...]
    reliability: tuple[Bin, ...]
    ahead: Differences
    ahead_of_rival: tuple[Differences, ...]
    stages: tuple[Stage, ...]
    worst_step: tuple[Differences, ...]
    orders: int
    unequal: int


def default_sets(names: Sequence[str]) -> Sets:
    """The known sets that are there; all detectors; every three of a few."""
    known = {name: one for name, one in KNOWN.items() if set(one) <= set(names)}
    everyone = {"all": tuple(names)} if set(names) not in map(set, known.values()) else {}
    if known or not 3 < len(names) <= _MOST_IN_THREES:
        return {**known, **everyone}
    return {**everyone, **{"+".join(three): three for three in combinations(names, 3)}}


def reports(plan: Plan, crew: Crew) -> Iterator[Report]:
    """One for each set, as soon as it is there. Raises `ConfigError`."""
    folder = plan.source.folder
    if len(folder.pictures) < plan.folds:
        raise ConfigError(f"{len(folder.pictures)} images are too few to be cross-validated")
    judge = Judge(folder.marked)
    names = list(dict.fromkeys(name for names in plan.sets.values() for name in names))
    found = [folder.detectors[name] for name in names]
    precisions = crew.do([Official(plan.source, one) for one in found])
    singles = {
        name: Row(name, precision, judge.best_point(judge.match(one)))
        for name, one, precision in zip(names, found, precisions, strict=True)
    }
    for name, members in plan.sets.items():
        yield _Comparison(plan, crew, judge, members).report(name, [singles[one] for one in members])


@dataclass(frozen=True, slots=True)
class Official:
    """AP by pycocotools, which takes its time."""

    source: Source
    found: Found

    def run(self) -> Precision:
        return official.precision(self.source.folder, self.found)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row and the boxes that it is about."""

    row: Row
    boxes: Both


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One set at work."""

    plan: Plan
    crew: Crew
    judge: Judge
    members: tuple[str, ...]

    def report(self, name: str, singles: Sequence[Row]) -> Report:
        orders = arrivals.orders(self.members)
        outcomes = self._outcomes(orders)
        ours = next(iter(outcomes.values()))
        (alone,) = self.crew.do([Alone(self.plan.source, self.members, next(iter(self.plan.rules.values())))])
        rules, fused = self._rules(outcomes), self._rivals(singles)
        steps = stages(self.judge, ours, orders)
        best = sorted(fused, key=lambda one: one.row.precision.ap)[-1:]
        mine, joins = rules[0].boxes, self._worst_step(ours, steps)
        pairs = [(mine, self._best_single(singles)), *((mine, one.boxes) for one in best), *joins]
        ahead, *others = self.crew.do(
            [Versus(self.plan.source, *pair, self.plan.resamples) for pair in pairs]
        )
        return Report(
            name=name,
            detectors=tuple(singles),
            rivals=tuple(one.row for one in fused),
            rules=tuple(one.row for one in rules),
            alone=tuple(self._ap(alone[one]) for one in self.members),
            reliability=reliability.bins(self.judge.match(mine.candidates)),
            ahead=ahead,
            ahead_of_rival=tuple(others[: len(best)]),
            stages=steps,
            worst_step=tuple(others[len(best) :]),
            orders=len(orders),
            unequal=ours.unequal,
        )

    def _outcomes(self, orders: Sequence[Order]) -> dict[str, Outcome]:
        """What each rule makes of the images; only the first is followed as replies come in."""
        plan = self.plan
        folds = [
            Fold(plan.source, self.members, rule, n, plan.folds, tuple(orders) if place == 0 else ())
            for place, rule in enumerate(plan.rules.values())
            for n in range(plan.folds)
        ]
        done = list(self.crew.do(folds))
        parts = [done[n : n + plan.folds] for n in range(0, len(done), plan.folds)]
        return {name: together(one) for name, one in zip(plan.rules, parts, strict=True)}

    def _rules(self, outcomes: Mapping[str, Outcome]) -> list[_Entry]:
        boxes = [one.boxes[frozenset(self.members)] for one in outcomes.values()]
        precisions = self.crew.do([Official(self.plan.source, one.candidates) for one in boxes])
        return [
            _Entry(Row(name, precision, self.judge.point(self.judge.match(one.stored))), one)
            for name, one, precision in zip(outcomes, boxes, precisions, strict=True)
        ]

    def _rivals(self, singles: Sequence[Row]) -> list[_Entry]:
        weights = tuple(one.precision.ap for one in singles)
        best = [self._best_trial(rival, weights) for rival in self.plan.rivals]
        precisions = self.crew.do([Official(self.plan.source, found) for _, found in best])
        return [
            self._rival(rival, how, found, precision)
            for rival, (how, found), precision in zip(self.plan.rivals, best, precisions, strict=True)
        ]

    def _best_trial(self, rival: Rival, weights: tuple[float, ...]) -> tuple[Thresholds, Found]:
        """The best IoU, and then the best threshold on scores."""
        best = self._best_of(rival, weights, [Thresholds(iou) for iou in rivals.IOUS])
        skips = rivals.SKIPS if rival.skips else ()
        skipping = [Thresholds(best[0].iou, skip) for skip in skips]
        return max(
            [best, *([self._best_of(rival, weights, skipping)] if skipping else [])],
            key=lambda one: self._ap(one[1]),
        )

    def _best_of(
        self, rival: Rival, weights: tuple[float, ...], settings: Sequence[Thresholds]
    ) -> tuple[Thresholds, Found]:
        trials = [Trial(self.plan.source, self.members, rival, one, weights) for one in settings]
        return max(zip(settings, self.crew.do(trials), strict=True), key=lambda one: self._ap(one[1]))

    def _rival(self, rival: Rival, how: Thresholds, found: Found, precision: Precision) -> _Entry:
        point = self.judge.best_point(self.judge.match(found))
        boxes = Both(found, found.where(found.score >= point.threshold))
        return _Entry(Row(rival.name, precision, point, str(how)), boxes)

    def _best_single(self, singles: Sequence[Row]) -> Both:
        by_ap = max(singles, key=lambda one: one.precision.ap)
        by_f1 = max(singles, key=lambda one: one.point.f1)
        detectors = self.plan.source.folder.detectors
        stored = detectors[by_f1.name]
        return Both(detectors[by_ap.name], stored.where(stored.score >= by_f1.point.threshold))

    def _worst_step(self, ours: Outcome, found: Sequence[Stage]) -> list[tuple[Both, Both]]:
        """After and before the steps that cost most."""
        return [
            (
                Both(ours.boxes[ap.after].candidates, ours.boxes[f1.after].stored),
                Both(ours.boxes[ap.before].candidates, ours.boxes[f1.before].stored),
            )
            for ap, f1 in zip(*worst_of_all(found), strict=True)
        ]

    def _ap(self, found: Found) -> float:
        return self.judge.precision(self.judge.match(found)).ap
