"""What each rule says of images from which it did not learn: cross-validation by image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from windmill import calibration
from windmill.calibrating import votes
from windmill.calibrating.votes import Example, Ideas
from windmill.core import calibrated, merging, voting
from windmill.evaluating.votes.cases import Cases, judged_labels
from windmill.evaluating.votes.scores import Floats, Mask, f1
from windmill.model import Vote, Voters

_NAMED_BY_NOBODY = -np.inf
_THRESHOLDS = np.arange(0.05, 1.0, 0.05)

# What is left out, one idea at a time, to see what it brings.
WITHOUT: Mapping[str, Ideas] = {
    "silence": Ideas(silence=False),
    "labels' own offsets": Ideas(labels=False),
    "the discount for many voters": Ideas(together=False),
    "learning from fewer voters": Ideas(subsets=False),
}
STRANGERS = "knowing any voter"


@dataclass(frozen=True, slots=True)
class Said:
    """What a rule says of all images: a score for each label (images × labels), and which labels stand.

    `probability`: whether the scores are meant as probabilities.
    """

    score: Floats
    stands: Mask
    probability: bool = False


@dataclass(frozen=True, slots=True)
class Fewer:
    """Probabilities where only some of the voters had been asked, and which of these labels are true."""

    probability: Floats
    truth: Mask


@dataclass(frozen=True, slots=True)
class Learned:
    """What a calibration says of images that it never saw."""

    all: Said
    fewer: Fewer


class Crossing:
    """The images of a folder, dealt out to folds by their names."""

    def __init__(self, cases: Cases, folds: int) -> None:
        self.cases, self.folds = cases, folds
        self.labels = sorted(judged_labels())
        self._column = {label: n for n, label in enumerate(self.labels)}
        self._row = {case.image: n for n, case in enumerate(cases.cases)}
        self.fold = np.array([fold_of(case.image, folds) for case in cases.cases])
        self.truth = np.zeros(self._shape, bool)
        for n, case in enumerate(cases.cases):
            self.truth[n, [self._column[label] for label in case.truth]] = True
        self.examples = [
            one
            for case in cases.cases
            for one in votes.examples(case.image, case.replies, case.truth, judged_labels())
        ]

    def counted(self) -> tuple[Said, Said]:
        """V3, in its order of rank; and the share of the services that named a label.

        The boxes among V3's evidence are merged by the calibration that ships, which may have been learned
        from these images: a favour to V3.
        """
        rank, share = self._empty(), self._empty()
        detectors = calibration.load().boxes
        for n, case in enumerate(self.cases.cases):
            boxes = merging.merge(case.replies, detectors)
            for one in self._judged(voting.vote(case.replies, boxes).votes):
                rank[n, self._column[one.emoji]] = one.votes + one.evidence_weight / 1000
            for one in self._judged(voting.tallied(case.replies, boxes)):
                share[n, self._column[one.emoji]] = one.votes / len(case.replies)
        return Said(rank, rank > _NAMED_BY_NOBODY), Said(share, share >= 0.5, probability=True)

    def alone(self, voter: str) -> Said:
        """One voter's confidence, and what stands from the threshold on that is best on the other folds."""
        score = self._empty()
        for n, case in enumerate(self.cases.cases):
            for label, by in self.cases.judged(case).items():
                if voter in by:
                    score[n, self._column[label]] = by[voter]
        stands = np.zeros(self._shape, bool)
        right = np.array([f1(score >= one, self.truth) for one in _THRESHOLDS])
        for fold in range(self.folds):
            held = self.fold == fold
            stands[held] = score[held] >= _THRESHOLDS[right[:, ~held].mean(axis=1).argmax()]
        return Said(score, stands, probability=True)

    def learned(self, ideas: Ideas, done: Callable[[], None], *, strangers: bool = False) -> Learned:
        """The calibrated rule; `strangers`: as if it knew none of the voters. `done` hears of each fold."""
        score = self._empty()
        fewer: list[tuple[float, bool]] = []
        for fold in range(self.folds):
            inside = [fold_of(one.image, self.folds) == fold for one in self.examples]
            voters = votes.learn(self._chosen(inside, False), ideas)
            voters = replace(voters, known={}) if strangers else voters
            for one in self._chosen(inside, True):
                probability = _probability(one, voters)
                if one.whole:
                    score[self._row[one.image], self._column[one.label]] = probability
                else:
                    fewer.append((probability, one.true))
            done()
        pairs = np.array(fewer or np.empty((0, 2)))
        said = Said(score, score >= calibrated.STANDS, probability=True)
        return Learned(said, Fewer(pairs[:, 0], pairs[:, 1] > 0))

    def _chosen(self, inside: Sequence[bool], wanted: bool) -> Iterable[Example]:
        return [one for one, own in zip(self.examples, inside, strict=True) if own == wanted]

    def _judged(self, given: Iterable[Vote]) -> Iterable[Vote]:
        return (one for one in given if one.emoji in self._column)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.cases.cases), len(self.labels)

    def _empty(self) -> Floats:
        return np.full(self._shape, _NAMED_BY_NOBODY)


def fold_of(image: str, folds: int) -> int:
    """The part to which an image belongs, whatever the other images are."""
    return int.from_bytes(hashlib.sha256(f"fold of {image}".encode()).digest()[:8]) % folds


def _probability(one: Example, voters: Voters) -> float:
    return calibrated.probability(calibrated.weights(one.label, one.said, one.looked, voters))
