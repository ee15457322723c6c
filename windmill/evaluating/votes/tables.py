"""The report on votes as tables for people, and as a document for scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from windmill.core import calibrated
from windmill.evaluating.document import Sheet
from windmill.evaluating.votes.report import CALIBRATED, SHARE, V3, Estimate, Report
from windmill.evaluating.votes.scores import BINS
from windmill.model import Voter, Voters

_NO_ERROR = "–"
_HOW = (
    "± is half of the interval that holds 95 of 100 bootstrap samples of the images; after the slash: chance,"
    " the same words about other images. Cross-validated by image, {folds} folds."
)
_STANDING = (
    f"F1: of what each holds for true: V3's consensus; {CALIBRATED}, from a probability of"
    f" {calibrated.STANDS}; {SHARE}, from one half; a voter alone, from the threshold that is best on the"
    " other folds."
)
_ERRORS = (
    f"ECE: expected calibration error over {BINS} bins of one size, of the probability, share or confidence,"
    " on the labels that each names. {named:,} labels were named that COCO has classes for; {unjudged:,} more"
    " it has none for, which count on neither side."
)
_FEWER = (
    "fewer: where only a random choice of the voters had been asked, as in an installation with others."
    " Without knowing any voter: all are taken for the average one."
)
_ALONE = (
    "at 0.5 alone: the probability of an average label that this voter names with that confidence, if nobody"
    " else was asked."
)
_TOGETHER = "Four voters who say the same count as {count:.1f} who know nothing of each other."


def sheets(report: Report) -> Sequence[Sheet]:
    """How well each does, whether probabilities are right, what ideas bring, and what was learned."""
    return [_quality(report), _reliability(report), _ideas(report), _learned(report)]


def document(report: Report) -> dict[str, object]:
    """All figures; the voters as the calibration's file has them, less the labels that each knows."""
    told = asdict(report)
    for voter in (told["voters"]["average"], *told["voters"]["known"].values()):
        voter["labels"] = len(voter["labels"])
    return told


def _quality(report: Report) -> Sheet:
    rows = [
        (
            row.name,
            _told(row.mean_ap),
            _told(row.micro_ap),
            _told(row.f1),
            _NO_ERROR if row.error is None else f"{row.error:.3f}",
        )
        for row in report.rows
    ]
    return Sheet(
        title=f"Labels of {report.images:,} images of {report.name}",
        columns=("rule, or voter alone", "mAP", "micro AP", "F1 per image", "ECE"),
        rows=tuple(rows),
        notes=(
            _HOW.format(folds=report.folds),
            _STANDING,
            _ERRORS.format(named=report.named, unjudged=report.unjudged),
            *_gains(report),
            *([f"Not there: {', '.join(report.absent)}."] if report.absent else []),
        ),
    )


def _gains(report: Report) -> Sequence[str]:
    """How far the calibrated rule is above V3 and above the best voter, by figure."""
    alone = [row for row in report.rows if row.name not in (V3, CALIBRATED, SHARE)]
    best = max(alone, key=lambda row: row.mean_ap.value)
    counted = next(row for row in report.rows if row.name == V3)
    return [
        f"{CALIBRATED} over {row.name}: "
        + ", ".join(f"{name} {_gain(one)}" for name, one in row.gain.items())
        for row in (counted, best)
    ]


def _reliability(report: Report) -> Sheet:
    return Sheet(
        title=f"Reliability of the calibrated probabilities, {report.name}",
        columns=("labels", "said on average", "true"),
        rows=tuple((f"{one.count:,}", f"{one.said:.3f}", f"{one.true:.3f}") for one in report.reliability),
        notes=(),
    )


def _ideas(report: Report) -> Sheet:
    rows = [
        (
            one.without,
            *(f"{value:.4f}" for value in (one.mean_ap, one.f1)),
            *(f"{value:.3f}" for value in (one.error, one.loss, one.fewer_error, one.fewer_loss)),
        )
        for one in report.ideas
    ]
    return Sheet(
        title=f"What each idea brings, {report.name}: the calibrated rule without it",
        columns=("without", "mAP", "F1 per image", "ECE", "log loss", "ECE, fewer", "log loss, fewer"),
        rows=tuple(rows),
        notes=(_FEWER,),
    )


def _learned(report: Report) -> Sheet:
    voters = report.voters
    shown = {**voters.known, "average": voters.average}
    return Sheet(
        title=f"What was learned of each voter, {report.name}",
        columns=("voter", "named", "right", "at 0.5 alone", "at 0.9 alone", "its silence"),
        rows=tuple(_voter_row(name, one, voters) for name, one in shown.items()),
        notes=(_ALONE, _TOGETHER.format(count=4 ** (1 - voters.together)), *_extremes(voters)),
    )


def _voter_row(name: str, voter: Voter, voters: Voters) -> tuple[str, ...]:
    alone = [
        f"{calibrated.probability({'prior': voters.prior, name: calibrated.worth(voter, at)}):.2f}"
        for at in (0.5, 0.9)
    ]
    silence = f"divides the odds by {math.exp(-voter.silent):.1f}" if voter.silent else "says nothing"
    return name, f"{voter.count:,}", f"{voter.right:.2f}", *alone, silence


def _extremes(voters: Voters) -> Sequence[str]:
    """The labels furthest from what voters say, either way; none stands on both sides."""
    ranked = sorted(voters.labels.items(), key=lambda pair: pair[1])
    most = " ".join(label for label, offset in ranked[:-6:-1] if offset > 0)
    least = " ".join(label for label, offset in ranked[:5] if offset < 0)
    if not (most or least):
        return ()
    return (f"Truer than voters say: {most or 'none'}; less true: {least or 'none'}.",)


def _gain(one: Estimate) -> str:
    return f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _told(one: Estimate) -> str:
    return f"{one.value:.3f} ±{(one.high - one.low) / 2:.3f} / {one.chance:.3f}"
