"""Embeddings of faces: are two photos of one person nearer than those of two?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from windmill.errors import ConfigError
from windmill.evaluating.asking import Answer
from windmill.evaluating.exam import Exam, Figure

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Cosines of pairs of faces: of one person, and of two."""

    same: Floats
    other: Floats


def measure(exam: Exam) -> Sequence[Figure]:
    """Every pair of photos is compared, by the largest face of each. Raises `ConfigError` without faces."""
    if not exam.people:
        raise ConfigError("needs --faces DIR, with a folder of photos for each person")
    photos = [(n, path) for n, paths in enumerate(exam.people.values()) for path in paths]
    seen = [(n, _largest(exam.asked.analyze(path.read_bytes()))) for n, path in exam.over(photos)]
    found = [(n, vector) for n, vector in seen if vector]
    persons, vectors = np.array([n for n, _ in found]), np.array([vector for _, vector in found])
    even = persons % 2 == 0
    halves = [pairs(persons[half], vectors[half]) for half in (even, ~even)]
    if not all(len(half.same) and len(half.other) for half in halves):
        raise ConfigError("--faces: too few people of whom several photos show a face")
    every = pairs(persons, vectors)
    right = [told_right(one, best_threshold(learned)) for one, learned in (halves, halves[::-1])]
    return (
        Figure("AUC", auc(every), "chance that two photos of one person are nearer than those of two", 0.5),
        Figure("accuracy", sum(right) / 2, _ACCURACY, 0.5),
        Figure("found", len(found) / len(photos), "share of the photos in which it sees a face"),
    )


_ACCURACY = (
    "mean share of the pairs of one and of two people that are told right, where the one half of the people"
    " sets the threshold for the other"
)


def pairs(persons: npt.NDArray[np.int64], vectors: Floats) -> Pairs:
    """Of embeddings (n × values, of any length) of these persons (n)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(persons), 1)
    cosines = (unit @ unit.T)[first, second]
    same = persons[first] == persons[second]
    return Pairs(np.sort(cosines[same]), np.sort(cosines[~same]))


def auc(known: Pairs) -> float:
    """Area under the ROC curve: how often one of `same` is above one of `other`; ties count half."""
    below = np.searchsorted(known.other, known.same, "left")
    not_above = np.searchsorted(known.other, known.same, "right")
    return float((below + not_above).mean() / 2 / len(known.other))


def told_right(known: Pairs, threshold: float) -> float:
    """The mean of the shares of both kinds that are on their side of the threshold."""
    return float(((known.same > threshold).mean() + (known.other <= threshold).mean()) / 2)


def best_threshold(known: Pairs) -> float:
    """The cosine that tells most of these pairs right."""
    tried: list[float] = known.other[:: max(1, len(known.other) // 1000)].tolist()
    return max(tried, key=lambda one: told_right(known, one))


def _largest(answer: Answer) -> list[float]:
    """The embedding of the largest face; empty if there is none."""
    faces = [(one["bbox"], one["embedding"]) for one in answer.predictions if "embedding" in one]
    _, largest = max(faces, key=lambda one: _area(one[0]), default=(None, []))
    return [float(value) for value in largest]


def _area(box: Mapping[str, float] | Sequence[float]) -> float:
    """Of a box in either form of the contract."""
    return box["width"] * box["height"] if isinstance(box, Mapping) else box[2] * box[3]
