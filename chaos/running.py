"""From a case to its line in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from chaos import photos
from chaos.cases import ONE_OF_EACH, Case
from chaos.site import ASKED, POSTGRES, Site
from chaos.stage import Ending, SkippedError, Stage, staged
from chaos.tables import Expected, Failure, Tables

_LONGEST_NOTE = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one case did to one broker's run. `examples` are a few keys that are lost or wrong."""

    case: str
    broker: str
    jobs: int
    lost: int
    duplicated: int
    wrong: int
    seconds: float
    note: str
    examples: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.wrong)


class Harness:
    """Runs cases at one site; undisturbed runs, which the others are compared with, are made once."""

    def __init__(self, site: Site, hold: float) -> None:
        self._site = site
        self._hold = hold
        self._calm: dict[str, Tables] = {}

    def run(self, case: Case, broker: str) -> Line:
        expected = self._expected(case.failure)
        with self._stage(case, broker) as stage:
            self._site.tell(pace=case.pace)
            case.submit(stage)
            stage.fleet.start(case.counts)
            try:
                case.disturb(stage)
            except SkippedError as reason:
                return _skipped(case, broker, expected, str(reason))
            except (AssertionError, RuntimeError) as error:  # work that stands still is a finding
                stage.blame(f"could not go on as planned: {error}")
            self._site.tell(pace=0.0)
            ending = stage.finish(expected)
            return _line(case, broker, stage, expected, ending)

    def _stage(self, case: Case, broker: str) -> Any:
        return staged(
            self._site,
            broker,
            extra=case.environment,
            tampered=case.tampered,
            proxied=case.proxied,
            hold=self._hold,
        )

    def _expected(self, failure: Failure | None) -> Expected:
        spared = failure.service if failure else ""
        if spared not in self._calm:
            self._calm[spared] = self._undisturbed(spared)
        marked = photos.marked(self._site.images) if failure else ()
        return Expected(self._calm[spared], marked, failure)

    def _undisturbed(self, spared: str) -> Tables:
        """The tables of a calm run in which `spared` is not asked about marked photos."""
        with staged(self._site, POSTGRES, extra={}, tampered={}, proxied=False, hold=0) as stage:
            for group, services in (
                (photos.PLAIN, ASKED),
                (photos.MARKED, [name for name in ASKED if name != spared]),
            ):
                stage.windmill("produce", "--services", ",".join(services), "--group", group)
            stage.fleet.start(ONE_OF_EACH)
            stage.settled()
            return stage.tables()


def _line(case: Case, broker: str, stage: Stage, expected: Expected, ending: Ending) -> Line:
    found = ending.difference
    extra = stage.site.repeated_calls()
    notes = [f"{extra} repeated calls"] * bool(extra) + stage.notes
    left = [f"left in {queue}: {count}" for queue, count in ending.left.items()]
    shown = [*found.lost[:3], *found.wrong[:3], *found.duplicated[:3]]
    return Line(
        case=case.name,
        broker=broker,
        jobs=len(expected.tables.rows) + 2 * len(expected.marked),
        lost=len(found.lost),
        duplicated=len(found.duplicated) + sum(ending.left.values()),
        wrong=len(found.wrong) + len(stage.faults),
        seconds=round(ending.seconds, 1),
        note=" ".join("; ".join([*stage.faults, *notes, *left]).split())[:_LONGEST_NOTE],
        examples=tuple(" ".join(key) for key in shown),
    )


def _skipped(case: Case, broker: str, expected: Expected, reason: str) -> Line:
    return Line(
        case=case.name,
        broker=broker,
        jobs=len(expected.tables.rows),
        lost=0,
        duplicated=0,
        wrong=0,
        seconds=0.0,
        note=f"not run: {reason}",
    )


def pairs(cases: Sequence[Case], brokers: Sequence[str]) -> Iterator[tuple[Case, str]]:
    """Which runs there are, the brokers' one after another within a case."""
    for case in cases:
        for broker in case.brokers:
            if broker in brokers:
                yield case, broker


def as_json(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [asdict(line) for line in lines]
