"""What a comparison says, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from statistics import mean
from typing import Any

from windmill.evaluating.boxes import reliability
from windmill.evaluating.boxes.noise import Spread
from windmill.evaluating.boxes.report import Report, Row
from windmill.evaluating.boxes.stages import Change, Stage, worst_of_all
from windmill.evaluating.document import Sheet

_HEAD = ("", "AP", "AP50", "AP75", "precision", "recall", "F1", "thresholds")
_STAGES = (
    "reported",
    "AP",
    "F1",
    "worst ΔAP",
    "worst ΔF1",
    "boxes kept",
    "in place",
    "crops kept",
    "new crops per image",
    "unmentioned boxes",
    "outvoted",
    "moved",
)


def sheets(reports: Sequence[Report]) -> list[Sheet]:
    """The sets beside each other, and three tables for each of them."""
    return [_overview(reports), *(one for report in reports for one in _of(report))]


def _of(report: Report) -> tuple[Sheet, ...]:
    return _ways(report), _reliability(report), _stages(report)


def document(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """For JSON: all figures, not rounded."""
    return [_plain(asdict(one)) for one in reports]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _overview(reports: Sequence[Report]) -> Sheet:
    gains = [one.ap.difference for report in reports for one in report.ahead_of_rival]
    notes = (
        (f"Windmill's AP less that of the best other method, mean of the sets: {mean(gains):+.4f}.",)
        if gains
        else ()
    )
    head = (
        "set",
        "detectors",
        "best single AP",
        "best other method",
        "AP",
        "Windmill AP",
        "ahead",
        "F1 best single",
        "F1 Windmill",
        "ahead",
    )
    return Sheet("The sets", head, tuple(_compared(one) for one in reports), notes)


def _compared(report: Report) -> tuple[str, ...]:
    single = max(one.precision.ap for one in report.detectors)
    rival = sorted(report.rivals, key=lambda one: one.precision.ap)[-1:]
    ours = report.rules[0]
    return (
        report.name,
        ", ".join(one.name for one in report.detectors),
        f"{single:.3f}",
        "".join(f"{one.name} ({one.how})" for one in rival),
        "".join(f"{one.precision.ap:.3f}" for one in rival),
        f"{ours.precision.ap:.3f}",
        "".join(_spread(one.ap) for one in report.ahead_of_rival),
        f"{max(one.point.f1 for one in report.detectors):.3f}",
        f"{ours.point.f1:.3f}",
        _spread(report.ahead.f1),
    )


def _spread(spread: Spread) -> str:
    return f"{spread.difference:+.4f} ± {spread.error:.4f}"


def _ways(report: Report) -> Sheet:
    detectors = [
        (*_row(one, f"score {one.point.threshold:.2f}"), f"{alone:.3f}")
        for one, alone in zip(report.detectors, report.alone, strict=True)
    ]
    others = [(*_row(one, f"{one.how}, score {one.point.threshold:.2f}"), "") for one in report.rivals]
    first, *others_of_ours = report.rules
    ours = [
        (*_row(first, "as stored"), ""),
        *((*_row(replace(one, name=f"– {one.name}"), "as stored"), "") for one in others_of_ours),
    ]
    return Sheet(f"Set {report.name}", (*_HEAD, "alone, merged: AP"), (*detectors, *others, *ours))


def _row(row: Row, how: str) -> tuple[str, ...]:
    figures = (
        row.precision.ap,
        row.precision.ap50,
        row.precision.ap75,
        row.point.precision,
        row.point.recall,
        row.point.f1,
    )
    return (row.name, *(f"{one:.3f}" for one in figures), how)


def _reliability(report: Report) -> Sheet:
    rows = [(f"{one.count:,}", f"{one.score:.3f}", f"{one.right:.3f}") for one in report.reliability]
    error = reliability.calibration_error(report.reliability)
    return Sheet(
        f"Set {report.name}: what scores say",
        ("candidates", "mean score", "right at IoU 0.5"),
        tuple(rows),
        (f"Expected calibration error: {error:.3f}.",),
    )


def _stages(report: Report) -> Sheet:
    by_ap, by_f1 = worst_of_all(report.stages)
    worst = [
        f"Worst of all orders: AP {_change(ap)}, a difference of {_spread(noise.ap)}; "
        f"F1 {_change(f1)}, a difference of {_spread(noise.f1)}."
        for ap, f1, noise in zip(by_ap, by_f1, report.worst_step, strict=True)
    ]
    end = f"{report.orders} orders; {report.unequal} images whose boxes hang on the order in the end."
    return Sheet(
        f"Set {report.name} as replies come in",
        _STAGES,
        tuple(_stage(one) for one in report.stages),
        (*worst, end),
    )


def _stage(stage: Stage) -> tuple[str, ...]:
    kept = stage.kept
    figures = (str(stage.reported), f"{stage.ap:.3f}", f"{stage.f1:.3f}")
    if not kept.moments:
        return (*figures, *[""] * (len(_STAGES) - len(figures)))
    return (
        *figures,
        *("".join(f"{one.by:+.4f}" for one in worst) for worst in (stage.worst_ap, stage.worst_f1)),
        f"{_share(kept.kept, kept.before)}",
        f"{_share(kept.still, kept.before)}",
        f"{_share(kept.crops, kept.before)}",
        f"{kept.fresh / kept.moments:.1f}",
        f"{_share(kept.silent, kept.before)}",
        f"{_share(kept.outvoted, kept.silent)}",
        f"{kept.moved:,}",
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _change(change: Change) -> str:
    return f"when {change.joined} joined {', '.join(sorted(change.before))}"
