"""A merged box's score as arithmetic on paper: figures short enough to read, and enough of them to be right.

Each step goes on with the figures that were printed before it, so that whoever calculates along gets all that
follows; there are as many digits as it takes to arrive at the score that is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from windmill.core.fusing import ALIGNED, NEAR_CERTAIN
from windmill.model import BoxVote, Detectors, JudgedBox

_FEWEST, _MOST = 3, 12  # decimals of what is calculated with
_SCORE, _STORED = 2, 6  # decimals of a score, as it is told and in the database


@dataclass(frozen=True, slots=True)
class Part:
    """What one service adds, as it is printed: `chance` × `iou`² = `counts` of who saw it, or `silence`."""

    chance: str = ""
    iou: str = ""
    counts: str = ""
    silence: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is printed of a box: each service's part, and the lines that lead from there to its score."""

    score: str
    parts: Mapping[str, Part]
    lines: Sequence[str]


class _Term(NamedTuple):
    """A summand: a number of the calibration, what it is multiplied by, and how that is written."""

    number: str
    factor: float = 1.0
    text: str = ""


def of(judged: JudgedBox, detectors: Detectors, rival: str) -> Figures:
    """The figures of this box; `rival` is what the surer box that overlaps it is called."""
    score = _score(judged)
    for digits in range(_FEWEST, _MOST):
        found = _figures(judged, detectors, rival, digits, len(score) - len("0."))
        if found.score == score:
            break
    return found


def _score(judged: JudgedBox) -> str:
    """As short as can be, with the threshold on the side of it where it is."""
    score, threshold = judged.box.score, judged.threshold
    for decimals in range(_SCORE, _STORED):
        text = f"{score:.{decimals}f}"
        if (float(text) >= threshold) == (score >= threshold):
            return text
    return f"{score:.{_STORED}f}"


def _figures(judged: JudgedBox, detectors: Detectors, rival: str, digits: int, decimals: int) -> Figures:
    """With so many digits in the arithmetic, and so many decimals in the score, which is "" where the digits
    are too few to tell a chance from 0 or 1."""
    parts = {vote.service: _part(vote, digits) for vote in judged.votes}
    counts = [part.counts for part in parts.values() if part.counts]
    if not all(0 < float(text) < 1 for text in counts):
        return Figures("", parts, ())
    wrong, right = _chances(counts, digits)
    terms = [
        _Term(f"{detectors.bias:.{digits}f}"),
        _Term(
            f"{detectors.agreement:.{digits}f}",
            math.log(float(right) / float(wrong)),
            f" × ln({right} / {wrong})",
        ),
        *_doubts(judged, detectors, rival, digits),
    ]
    total = f"{math.fsum(float(term.number) * term.factor for term in terms):.{digits}f}"
    score = f"{round(_sigmoid(float(total)), _STORED):.{decimals}f}"
    each = " × ".join(f"(1 − {text})" for text in counts) if len(counts) > 1 else f"1 − {counts[0]}"
    lines = (
        f"chance that all are wrong: {each} = {wrong}; that one is right: {right}",
        f"log-odds: {_sum(terms)} = {_signed(total)}",
        f"score = 1 / (1 + exp({_signed(_negated(total))})) = {score}",
    )
    return Figures(score, parts, lines)


def _part(vote: BoxVote, digits: int) -> Part:
    if vote.detection is None:
        return Part(silence=_signed(f"{vote.silence:.{digits}f}") if vote.silence else "")
    chance, iou = f"{vote.chance:.{digits}f}", f"{vote.iou:.{digits}f}"
    return Part(chance, iou, f"{float(chance) * float(iou) ** ALIGNED:.{digits}f}")


def _chances(counts: Sequence[str], digits: int) -> tuple[str, str]:
    """That all are wrong, and that one is right; the smaller one has so many digits that are not 0."""
    wrong = math.prod(1 - float(text) for text in counts)
    right = max(1 - wrong, NEAR_CERTAIN)
    smaller = min(wrong, right)
    if smaller < NEAR_CERTAIN:
        return f"{wrong:.{digits - 1}e}", "1"
    decimals = digits - 1 - math.floor(math.log10(smaller))
    return f"{wrong:.{decimals}f}", f"{right:.{decimals}f}"


def _doubts(judged: JudgedBox, detectors: Detectors, rival: str, digits: int) -> Iterator[_Term]:
    if judged.rival:
        overlap = f"{judged.rival:.{digits}f}"
        number = f"{detectors.overlap:.{digits}f}"
        yield _Term(number, float(overlap) ** 2, f" × {overlap}² (IoU with {rival})")
    for vote in judged.votes:
        if vote.silence:
            yield _Term(f"{vote.silence:.{digits}f}", 1.0, f" ({vote.service} is silent)")


def _sigmoid(log_odds: float) -> float:
    return (1 + math.tanh(log_odds / 2)) / 2  # the same, and no overflow


def _sum(terms: Sequence[_Term]) -> str:
    first, *others = terms
    rest = (f"{'− ' if one.number[0] == '-' else '+ '}{one.number.lstrip('-')}{one.text}" for one in others)
    return " ".join((_signed(first.number) + first.text, *rest))


def _signed(number: str) -> str:
    """With the sign of mathematics, as in the sums."""
    return number.replace("-", "−")


def _negated(number: str) -> str:
    return number[1:] if number[0] == "-" else f"-{number}"
